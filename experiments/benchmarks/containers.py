"""Compare sounds in tars and Parquet files with plain files: read in their order, in any order, and embedded."""

from __future__ import annotations

import io
import shutil
import statistics
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from measure import Row, cpu_seconds, median, table, write_section

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.sampling.batches import Draws
from distill.teachers.mel import Mel

CLIPS, SECONDS, RATE = 300, 10, 16_000
ROWS_PER_GROUP = 100  # as `datasets` writes audio
BATCH, PASSES, GOAL = 32, 9, 0.9
DRAWS = 10  # of pyarrow, which decodes a group for each


def sounds(form: str) -> list[bytes]:
    """Return clips of 16 bits: 240 kB each as FLAC, 320 kB as WAV."""
    generator, contents = np.random.default_rng(0), []
    seconds = np.arange(SECONDS * RATE) / RATE
    for _ in range(CLIPS):
        tone = 0.3 * np.sin(2 * np.pi * generator.uniform(100, 4000) * seconds)
        noise = generator.uniform(0.005, 0.05) * generator.standard_normal(len(seconds))
        file = io.BytesIO()
        soundfile.write(file, tone + noise, RATE, format=form, subtype="PCM_16")
        contents.append(file.getvalue())
    return contents


def write_plain(folder: Path, contents: Sequence[bytes], form: str) -> None:
    for number, content in enumerate(contents):
        (folder / f"{number:06d}.{form}").write_bytes(content)


def write_tars(folder: Path, contents: Sequence[bytes], form: str) -> None:
    for first in range(0, len(contents), 100):
        with tarfile.open(folder / f"shard-{first // 100:06d}.tar", "w") as tar:
            for number, content in enumerate(contents[first : first + 100], first):
                member = tarfile.TarInfo(f"{number:06d}.{form}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_parquet(folder: Path, contents: Sequence[bytes], form: str, **options: object) -> None:
    audio = [{"bytes": content, "path": f"{number:06d}.{form}"} for number, content in enumerate(contents)]
    columns = pyarrow.table({"audio": audio})
    path = folder / "train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(columns, path, row_group_size=ROWS_PER_GROUP, **options)


def batches(folder: Path, order: Sequence[int], embeds: bool) -> list[Callable[[], None]]:
    """Return functions that decode the clips of a batch each, as `distill embed` does, and may embed them."""
    clips, encoder = ClipDataset(read_manifest(folder), RATE, Crop(0)), Mel(sample_rate=RATE)

    def read(rows: list[int]) -> None:
        loaded = clips.__getitems__(Draws(rows, rows))
        assert loaded.batch is not None
        assert not loaded.set_aside
        if embeds:
            encoder.encode(loaded.batch)

    return [partial(read, list(order[first : first + BATCH])) for first in range(0, CLIPS, BATCH)]


def batch_by_batch(
    ours: Sequence[Callable[[], None]], rival: Sequence[Callable[[], None]]
) -> tuple[float, float, float]:
    """Return the median CPU seconds of a pass of both, and the median ratio of the passes.

    The two take turns at every batch, so that other work on the machine slows both. The files lie in memory, and one
    thread reads them, so CPU time is what reading costs.
    """
    passes = []
    for _ in range(PASSES + 1):
        pairs = [(cpu_seconds(mine), cpu_seconds(theirs)) for mine, theirs in zip(ours, rival, strict=True)]
        passes.append([sum(side) for side in zip(*pairs, strict=True)])
    measured = passes[1:]  # the first pass reads footers and fills caches
    medians = [statistics.median(side) for side in zip(*measured, strict=True)]
    return medians[0], medians[1], statistics.median(theirs / mine for mine, theirs in measured)


def measure(folder: Path, form: str, containers: dict[str, Callable[[Path, Sequence[bytes], str], None]]) -> list[Row]:
    contents, rows = sounds(form), []
    plain = folder / "plain"
    plain.mkdir()
    write_plain(plain, contents, form)
    any_order = np.random.default_rng(1).permutation(CLIPS).tolist()
    cases = {
        "read in order": (range(CLIPS), False),
        "read in any order": (any_order, False),
        "embedded by mel": (any_order, True),
    }
    for name, write in containers.items():
        place = folder / "container"
        place.mkdir()
        write(place, contents, form)
        for words, (order, embeds) in cases.items():
            mine, theirs, ratio = batch_by_batch(batches(place, order, embeds), batches(plain, order, embeds))
            rows.append(Row(f"{name}, {words}", mine, theirs, GOAL, f"plain {form.upper()} files", ratio))
            print(rows[-1], flush=True)
        shutil.rmtree(place)
    return rows


def group_by_group(folder: Path) -> float:
    """Return the seconds of a sound that pyarrow reads with its group of rows."""
    contents = sounds("flac")
    write_parquet(folder, contents, "flac")
    file = pyarrow.parquet.ParquetFile(next(folder.iterdir()))
    generator = np.random.default_rng(2)

    def read() -> None:
        group, row = divmod(int(generator.integers(CLIPS)), ROWS_PER_GROUP)
        column = file.read_row_group(group, columns=["audio.bytes"]).column(0)
        soundfile.read(io.BytesIO(column[row].as_py()["bytes"]), dtype="int16")

    return median(read, DRAWS)


def main() -> None:
    flac = {
        "tars of FLAC": write_tars,
        "Parquet of FLAC, one page a group": write_parquet,
        "Parquet of FLAC, pages by content": lambda folder, contents, form: write_parquet(
            folder, contents, form, use_content_defined_chunking=True
        ),
    }
    rows: list[Row] = []
    for form, containers in (("flac", flac), ("wav", {"tars of WAV": write_tars, "Parquet of WAV": write_parquet})):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), form, containers)
    with tempfile.TemporaryDirectory() as folder:
        seconds = group_by_group(Path(folder))
    lines = [
        *table(rows),
        "",
        f"CPU time of {CLIPS} clips of {SECONDS} s at {RATE // 1000} kHz, read in one process by batches of {BATCH}",
        "from the page cache. Container and files take turns at every batch. Parquet is written as `datasets` does:",
        f"snappy, {ROWS_PER_GROUP} sounds in a group of rows. With pyarrow alone, a sound in any order takes",
        f"{1000 * seconds:.1f} ms, since its whole group is decoded. A WAV of 16 bits in a container is read",
        "without libsndfile, a plain one with it. Mel statistics are the cheapest encoder there is.",
    ]
    write_section("Sounds in containers", lines, "containers")


if __name__ == "__main__":
    main()
