"""Build a pool and four labelled tasks of real recorded sound from Debian packages.

    python experiments/real/sounds.py --out sounds/

The packages are fetched with `apt-get download`; nothing is installed. Where apt is missing, fetch them from a mirror
of Debian, and name their folder: `--debs FOLDER`. The same packages give the same bytes. `dpkg-deb` unpacks them.

The output has `audio/`, `pool.csv`, `pool_all.csv` (the pool before packages are limited), and more tables:

- voices: 15 voices of a game; the test clips are other lines.
- drums: 8 drums; the test clips are of other kits.
- instruments: 11 families of instruments; the test clips are of another sample library.
- kinds: speech, music, effects, drums and notes; the test clips are of other packages.
- notes: pitch classes of notes that are not in `pool.csv`; the test clips are of other instruments.
- small: 96 clips of one second from the pool, without a split.

Paths in the tables are relative to the folder of the tables. No test clip of the first four tasks is in a pool.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run this file by its path

from experiments.real.extract import MAX_SECONDS, Found, lay_out, unpack, usable_sounds
from experiments.real.labels import labels_of, note, package_of, text_fraction, voice

PACKAGES = (
    *("klettres-data", "ktuberling-data", "tuxpaint-stamps-default", "gcin-voice", "hedgewars-data"),
    *("asterisk-core-sounds-en-wav", "asterisk-core-sounds-es-wav", "asterisk-core-sounds-fr-wav"),
    *("asterisk-core-sounds-it-wav", "asterisk-core-sounds-ru-wav", "asterisk-prompt-es-co"),
    *("asterisk-prompt-fr-armelle", "asterisk-prompt-it-menardi-wav", "asterisk-moh-opsound-wav"),
    *("hydrogen-drumkits", "freepats", "fluid-soundfont-gm", "lmms-common", "sonic-pi-samples"),
    *("wesnoth-1.16-data", "minetest-data", "colobot-common-sounds", "frozen-bubble-data", "oxygen-sounds"),
)
TASKS = ("voices", "drums", "instruments", "kinds")
LIMITS = {  # clips of a label in each split
    "voices": {"train": 99, "test": 99},
    "drums": {"train": 45, "test": 45},
    "instruments": {"train": 45, "test": 40},
    "kinds": {"train": 60, "test": 50},
}
_MUSIC_WINDOWS, _POOL_WINDOWS = 12, 6  # of ten seconds, from one long file
_POOL_VOICE, _POOL_PACKAGE = 30, 240  # clips of one voice and of one package, so that at most half is speech
_SMALL_CLIPS, _SMALL_SECONDS = 96, 1.0
_NOTE_SECONDS = 2.0
_LEFT_OUT = "ktuberling-data"  # its speech is neither in the pool nor, as no held-out line, in a task


class Row(NamedTuple):
    """A row of a table: a window of a file, in seconds, with its label and split."""

    path: str
    start: float
    end: float
    label: str
    split: str


def fetch(folder: Path) -> None:
    """Download the packages that a folder does not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (name for name in PACKAGES if not any(folder.glob(f"{name}_*.deb"))):
        print(f"apt-get download {name}", flush=True)
        try:
            subprocess.run(["apt-get", "download", "-q", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit(f"apt-get is missing: put Debian's packages of these names into a folder, and name it with --debs:"
                     f" {' '.join(PACKAGES)}")  # fmt: skip
        except subprocess.CalledProcessError:
            sys.exit(f"apt-get could not download {name}: run `apt-get update`, or name a folder of packages: --debs")


def package_file(folder: Path, name: str) -> Path:
    """Return the file of a package in a folder. Exit if there is none, or several versions."""
    files = sorted(folder.glob(f"{name}_*.deb"))
    if len(files) != 1:
        sys.exit(f"{folder} has {len(files)} files {name}_*.deb: must be one")
    return files[0]


def windows(seconds: float, count: int = 1) -> list[tuple[float, float]]:
    """Return start and end of at most `count` windows of at most ten seconds, evenly spread over a file."""
    if seconds <= MAX_SECONDS:
        return [(0.0, round(seconds, 3))]
    count = min(count, int(seconds // MAX_SECONDS))
    step = (seconds - MAX_SECONDS) / (count - 1) if count > 1 else 0.0
    return [(round(step * number, 2), round(step * number + MAX_SECONDS, 2)) for number in range(count)]


def rows_of(found: Found, label: str, split: str, count: int = 1) -> list[Row]:
    """Return the rows of at most `count` windows of a sound."""
    return [Row(found.path.as_posix(), start, end, label, split) for start, end in windows(found.seconds, count)]


def limited(rows: Iterable[Row], group: Callable[[Row], tuple[str, str]], limit: Callable[..., int]) -> list[Row]:
    """Return at most `limit(*group)` rows of each group, chosen by the digests of their names, sorted."""
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[group(row)].append(row)
    chosen = []
    for key, members in groups.items():
        chosen += sorted(members, key=lambda row: text_fraction(f"{row.path}{row.start}"))[: limit(*key)]
    return sorted(chosen)


def task_tables(sounds: Sequence[Found]) -> tuple[dict[str, list[Row]], set[Path]]:
    """Return the rows of each task, and the sounds that no pool may hold."""
    tasks: dict[str, list[Row]] = {name: [] for name in TASKS}
    held_out: set[Path] = set()
    for found in sounds:
        for name, (label, split) in labels_of(found.path).items():
            if not label:
                continue
            tasks[name] += rows_of(found, label, split, _MUSIC_WINDOWS if label == "music" else 1)
            if split == "test" and (name, label) != ("kinds", "speech"):
                held_out.add(found.path)
    # The test clips of the kind "speech" are those that the task "voices" holds out already.
    tasks["kinds"] = [row for row in tasks["kinds"] if row.split == "train" or Path(row.path) in held_out]
    return {name: _limited_task(rows, LIMITS[name]) for name, rows in tasks.items()}, held_out


def _limited_task(rows: Iterable[Row], limits: dict[str, int]) -> list[Row]:
    return limited(rows, lambda row: (row.label, row.split), lambda _, split: limits[split])


def pools(sounds: Sequence[Found], held_out: set[Path]) -> tuple[list[Row], list[Row]]:
    """Return the rows of the whole pool, labelled with their packages, and those of the limited pool."""
    everything = []
    for found in sounds:
        if found.path not in held_out and package_of(found.path) != _LEFT_OUT:
            everything += rows_of(found, package_of(found.path), "", _POOL_WINDOWS)
    even = limited(
        everything,
        lambda row: (row.label, voice(Path(row.path)).label),
        lambda _, speaker: _POOL_VOICE if speaker else _POOL_PACKAGE,
    )
    return everything, even


def notes(sounds: Sequence[Found], pool: Iterable[Row]) -> list[Row]:
    """Return the starts of all notes that are not in the pool, with their pitch classes."""
    known = {row.path for row in pool}
    rows = []
    for path, seconds in sounds:
        label, split = note(path)
        if label and path.as_posix() not in known:
            rows.append(Row(path.as_posix(), 0.0, round(min(seconds, _NOTE_SECONDS), 3), label, split))
    return rows


def small(pool: Iterable[Row]) -> list[Row]:
    """Return the first second of some clips of the pool, chosen by the digests of their names."""
    long_enough = (row for row in pool if row.end - row.start >= _SMALL_SECONDS)
    chosen = sorted(long_enough, key=lambda row: text_fraction(f"{row.path}{row.start}"))[:_SMALL_CLIPS]
    return sorted(row._replace(end=row.start + _SMALL_SECONDS) for row in chosen)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a table, and print its sizes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    splits = ", ".join(f"{split} {count}" for split, count in Counter(row.split for row in rows).items() if split)
    hours = sum(row.end - row.start for row in rows) / 3600
    labels = len({row.label for row in rows})
    print(f"{path.name}: {len(rows)} clips, {hours:.2f} h, {labels} labels{f' ({splits})' if splits else ''}")


def build(debs: Path, out: Path) -> None:
    """Write the sounds and the tables of the packages in a folder."""
    for name in PACKAGES:
        unpack(package_file(debs, name), out / "unpacked" / name)
        lay_out(out / "unpacked" / name, out / "audio" / name)
    sounds = usable_sounds(out)
    tasks, held_out = task_tables(sounds)
    everything, even = pools(sounds, held_out)
    for name, rows in (
        *tasks.items(),
        ("pool_all", everything),
        ("pool", even),
        ("notes", notes(sounds, even)),
        ("small", small(even)),
    ):
        write_table(out / f"{name}.csv", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("sounds"), help="folder of the sounds and the tables")
    parser.add_argument("--debs", type=Path, help="folder of the packages (default: fetch them into OUT/debs)")
    options = parser.parse_args()
    if options.debs is None:
        fetch(options.out / "debs")
    build(options.debs or options.out / "debs", options.out)


if __name__ == "__main__":
    main()
