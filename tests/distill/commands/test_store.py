"""`distill store` describes, verifies and writes a store."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.cli.shell import main
from distill.data.store.format import SetAside
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from tests.own_parts import Loudness


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The line of a command that ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_store_is_described(sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, store = sounds(5), tmp_path / "s"
    (data / "x.wav").write_bytes(b"no sound")
    (data / "y.wav").touch()
    distill.embed(str(data), str(store), teacher="spectral", frames=True, workers=0)
    (data / "class0" / "000.wav").unlink()
    distill.embed(str(data), str(store), teacher="spectral", frames=True, workers=0)
    capsys.readouterr()
    main(["store", str(store)])
    assert capsys.readouterr().out.splitlines() == [
        f"{store}: 4 clips of 280 numbers, float16, frames of 64 numbers",
        "encoder: spectral, licence: MIT (no weights)",
        "input: 16000 Hz, crop: 10 s, centre",
        f"on disk: {sum(file.stat().st_size for file in store.iterdir()) / 2**20:,.1f} MiB in 1 shards",
        "set aside: 1 unrecognised_format, 1 empty_file",
        "removed from the data: 1",
        "verified: the files of 1 shards are as they were written",
    ]


def test_weights_and_whole_clips_are_said(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill.embed(str(sounds(2)), str(tmp_path / "s"), teacher="musicnn", crop=distill.Crop(0), workers=0)
    capsys.readouterr()
    opened = distill.store(str(tmp_path / "s"))
    assert len(opened) == 2
    printed = capsys.readouterr().out
    assert re.search(r"\nweights: .*, sha256 \w{64}, .*\ninput: 16000 Hz, crop: whole clips\n", printed)


def test_an_incomplete_store_says_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = StoreWriter(tmp_path / "s", ["a", "b", "c", "d", "e"], 2, {}, rows_per_shard=2)
    writer.write(0, {"a": np.ones(2), "b": np.ones(2)})
    shard = writer.open(1)
    shard.put_aside(SetAside("d", "malformed", ""))
    writer.keep(shard)
    main(["store", f"--store={tmp_path / 's'}"])
    printed = capsys.readouterr().out
    assert "not complete: 2 of 3 shards are not finished, with 1 clips kept; run the same `distill embed`" in printed
    assert "verified: the files of 1 shards" in printed
    line = failure(capsys, "store", tmp_path / "s", "--out", tmp_path / "x.npz")
    assert line.endswith("s is not complete; run its `distill embed` again first")
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("file", ["00000.bin", "00000.frames.bin"])
@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone"])
def test_a_damaged_store_is_one_line_and_its_remedy_works(
    damage: str, file: str, sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, store = str(sounds(3)), tmp_path / "s"
    options = {"teacher": "spectral", "frames": True, "workers": 0}
    whole = distill.embed(data, str(store), **options).read_all()  # type: ignore[arg-type]
    content = bytearray((store / file).read_bytes())
    content[70] ^= 8
    damaged = {"flipped": content, "shorter": content[:-1], "longer": content + b"0"}
    (store / file).unlink()
    if damage in damaged:
        (store / file).write_bytes(damaged[damage])
    capsys.readouterr()
    line = failure(capsys, "store", store)
    assert line.startswith(f"distill: error: {store / '00000'}")
    assert "is damaged" in line
    assert "run the same `distill embed` again, which embeds its clips again" in line
    if "delete it" in line:
        (store / file).unlink()
    again = distill.embed(data, str(store), **options)  # type: ignore[arg-type]
    again.verify()
    np.testing.assert_array_equal(again.read_all(), whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["store", "nowhere"], "nowhere is not a store of embeddings"),
        (["store", "nowhere", "--out", "x.csv"], "--out x.csv: the name must end in .parquet or .npz"),
        (["store"], "store"),
        (["store", "a", "b"], "b"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in failure(capsys, *words)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_ids_and_embeddings_are_written(
    suffix: str, sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = sounds(4), tmp_path / f"x.{suffix}"
    os.rename(data / "class0" / "000.wav", os.fsencode(data) + b"/caf\xe9.wav")  # not UTF-8
    store = distill.embed(str(data), str(tmp_path / "s"), teacher=distill.create_teacher(Loudness), workers=0)
    capsys.readouterr()
    main(["store", str(tmp_path / "s"), "--out", str(out)])
    assert capsys.readouterr().out.endswith(f"4 ids and embeddings of 3 numbers in {out}\n")
    if suffix == "npz":
        with np.load(out) as arrays:
            assert np.array_equal(arrays["embeddings"], store.read_all())


def lines_of_the_page() -> str:
    page = (Path(__file__).parents[3] / "docs" / "store_format.md").read_text()
    return page.partition("```python\n")[2].partition("```")[0]


def test_the_lines_of_the_page_read_a_store(tmp_path: Path) -> None:
    assert len([line for line in lines_of_the_page().splitlines() if line and not line.startswith("import")]) == 10
    names = [f"clip {number}" for number in range(8)] + ["caf\udce9", "line\nbreak", ""]
    writer = StoreWriter(tmp_path / "s", names, 3, {}, rows_per_shard=4)
    vectors = {name: np.full(3, number, np.float32) for number, name in enumerate(names)}
    for shard in range(3):
        missing = SetAside(names[4 * shard], "removed" if shard else "malformed", "")
        writer.write(shard, vectors, [missing])
    ids = tmp_path / "s" / "ids.bin"
    ids.write_bytes(ids.read_bytes() + b"of a killed writer")
    read: dict[str, object] = {"store": str(tmp_path / "s"), "open": _opened}
    exec(lines_of_the_page(), read)
    store = EmbeddingStore(tmp_path / "s")
    assert read["ids"] == list(store.ids)
    assert np.array_equal(np.asarray(read["embeddings"], np.float32), store.read_all())
    assert json.loads((tmp_path / "s" / "plan.json").read_text())["clips"] == 11


class _opened:
    """A file that is closed at once, since the page leaves this to Python."""

    def __init__(self, path: str, mode: str = "r") -> None:
        self.content = Path(path).read_bytes() if "b" in mode else Path(path).read_text()

    def read(self) -> str | bytes:
        return self.content
