"""Read published data sets: their folders, splits, folds and labels. Nothing is downloaded.

Splits are named "training", "validation" and "test", and folds by their number. If a file of the data set is missing,
the error names it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import AudioError, UserError

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_NOISE = "_background_noise_"
_SPEECH_COMMANDS = ("validation_list.txt", "testing_list.txt")
_AUDIOSET = ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv")
_FSD50K = tuple(f"FSD50K.ground_truth/{table}.csv" for table in ("dev", "eval", "vocabulary"))
_OPENMIC = ("partitions/split01_train.csv", "partitions/split01_test.csv")
_NSYNTH = ("nsynth-train/examples.json", "nsynth-valid/examples.json", "nsynth-test/examples.json")
_TAU = ("evaluation_setup/fold1_train.csv", "evaluation_setup/fold1_evaluate.csv")
_TRAIN_LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv")


@dataclass(frozen=True)
class Layout:
    """A data set as it is published.

    Args:
        name: Value of `--task`.
        marks: Files and folders that every copy contains, relative to its root.
        read: Yields the rows of a root. None stands for a listed clip without a file, where this is common.
        metric: "accuracy" or "mAP".
        note: Deviations and protocol, printed with every score.
        coarser: Functions that map labels to groups, by the name of the additional metric.
    """

    name: str
    marks: tuple[str, ...]
    read: Callable[[Path], Iterable[Row | None]]
    metric: str
    note: str = ""
    coarser: Mapping[str, Callable[[str], str]] = field(default_factory=dict)


def read_layout(task: str, root: str | Path) -> Manifest:
    """Read a data set by its name.

    Raises:
        UserError: the data set is unknown, or one of its files is missing or not as published.
    """
    if task not in LAYOUTS:
        raise UserError(f"--task {task}: must be one of {', '.join(LAYOUTS)}")
    root, layout = Path(root), LAYOUTS[task]
    for mark in layout.marks:
        if not (root / mark).exists():
            raise UserError(f"--data {root}: not {task}, {mark} is missing")
    try:
        listed = tuple(layout.read(root))
    except (KeyError, ValueError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"--data {root}: a list of {task} is not as published ({reason}); is it cut off?") from error
    rows = tuple(row for row in listed if row is not None)
    if not rows:
        raise UserError(f"--data {root}: the lists of {task} exist, but none of its audio")
    if absent := len(listed) - len(rows):
        print(f"{task}: {absent:,} of {len(listed):,} listed clips have no file and are left out")
    return Manifest(root, rows)


def find_layout(root: Path) -> str | None:
    """Return the name of the first layout whose files are in a folder, or None."""
    return next(
        (name for name, layout in LAYOUTS.items() if all((root / mark).exists() for mark in layout.marks)), None
    )


def _row(root: Path, path: Path, labels: Iterable[str], split: str, annotated: Iterable[str] = ()) -> Row:
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise UserError(f"--data {root}: a list names {path}, which may lie outside the folder")
    row_id = path.relative_to(root).as_posix()
    return Row(id=row_id, path=path, labels=tuple(labels), split=split, annotated=tuple(annotated))


def _records(table: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def _esc50(root: Path) -> Iterator[Row]:
    for record in _records(root / "meta" / "esc50.csv"):
        yield _row(root, root / "audio" / record["filename"], [record["category"]], record["fold"])


def _spoken(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield path, word and split of every spoken clip of Speech Commands."""
    listed = {
        name: split
        for split, file in (("validation", "validation_list.txt"), ("test", "testing_list.txt"))
        for name in (root / file).read_text().split()
    }
    for path in sorted(root.glob("[a-z]*/*.wav")):
        name = path.relative_to(root).as_posix()
        yield path, path.parent.name, listed.get(name, "training")


def _speech_commands_v2(root: Path) -> Iterator[Row]:
    for path, word, split in _spoken(root):
        yield _row(root, path, [word], split)


def _speech_commands_v1(root: Path) -> Iterator[Row]:
    for path, word, split in _spoken(root):
        yield _row(root, path, [word if word in KEYWORDS else "_unknown_"], split)
    from distill.data.audio.read import duration  # here, since other data sets need no decoder

    for path in sorted((root / _NOISE).glob("*.wav")):
        try:
            seconds = int(duration(path))
        except AudioError:
            continue
        for second in range(seconds):
            place = second / max(1, seconds)
            split = "training" if place < 0.8 else "validation" if place < 0.9 else "test"
            row_id = f"{path.relative_to(root).as_posix()}@{second}"
            yield Row(id=row_id, path=path, start=float(second), duration=1.0, labels=("_silence_",), split=split)


def _voxceleb1(root: Path) -> Iterator[Row | None]:
    splits = {"1": "training", "2": "validation", "3": "test"}
    folders = [folder for name in ("wav", "dev/wav", "test/wav") if (folder := root / name).is_dir()]
    for line in filter(None, (root / "iden_split.txt").read_text().splitlines()):
        part, _, name = line.strip().partition(" ")
        path = next((folder / name for folder in folders if (folder / name).exists()), None)
        yield _row(root, path, [name.partition("/")[0]], splits[part]) if path else None


def _known_labels(vocabulary: Iterable[str], labels: list[str], table: str) -> list[str]:
    """Return the labels. Raises ValueError if one of them is not in the vocabulary of `table`."""
    if unknown := [label for label in labels if label not in vocabulary]:
        raise ValueError(f"the label {unknown[0]!r} is not in {table}")
    return labels


def _audioset(root: Path, training: tuple[str, ...]) -> Iterator[Row | None]:
    files = {path.stem: path for path in root.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".mp3", ".ogg")}
    vocabulary = {record["mid"] for record in _records(root / "class_labels_indices.csv")}
    for name, split in (*((name, "training") for name in training), ("eval_segments.csv", "test")):
        lines = (line for line in (root / name).read_text().splitlines() if not line.startswith("#"))
        for clip, start, end, mids in csv.reader(lines, skipinitialspace=True):
            # Tools that download AudioSet name its files in different ways.
            names = (f"Y{clip}", clip, f"{clip}_{float(start):.0f}_{float(end):.0f}", f"{clip}_{start}_{end}")
            path = next((files[stem] for stem in names if stem in files), None)
            labels = _known_labels(vocabulary, mids.split(","), "class_labels_indices.csv")
            yield _row(root, path, labels, split) if path else None


def _fsd50k(root: Path) -> Iterator[Row]:
    truth = root / "FSD50K.ground_truth"
    splits = {"train": "training", "val": "validation"}
    with open(truth / "vocabulary.csv", newline="") as file:  # a table without a header
        vocabulary = {line[1] for line in csv.reader(file)}
    for part, audio in (("dev", "FSD50K.dev_audio"), ("eval", "FSD50K.eval_audio")):
        for record in _records(truth / f"{part}.csv"):
            labels = _known_labels(vocabulary, record["labels"].split(","), "vocabulary.csv")
            split = splits[record["split"]] if part == "dev" else "test"
            yield _row(root, root / audio / f"{record['fname']}.wav", labels, split)


def _urbansound8k(root: Path) -> Iterator[Row]:
    for record in _records(root / "metadata" / "UrbanSound8K.csv"):
        path = root / "audio" / f"fold{record['fold']}" / record["slice_file_name"]
        yield _row(root, path, [record["class"]], record["fold"])


def _gtzan(root: Path) -> Iterator[Row]:
    # The fault-filtered split of Kereliuk, Sturm and Larsen (2015), after the faults that Sturm (2013) lists; as in
    # jordipons/sklearn-audio-transfer-learning and in torchaudio.
    listed = {record["clip"]: record["split"] for record in _records(Path(__file__).with_name("gtzan_splits.csv"))}
    for path in sorted((root / "genres").glob("*/*")):
        if path.suffix in (".wav", ".au") and path.stem in listed:
            yield _row(root, path, [path.parent.name], listed[path.stem])


def _openmic(root: Path) -> Iterator[Row]:
    # From the table, since the keys of openmic-2018.npz are pickled objects.
    relevances: dict[str, dict[str, float]] = {}
    for record in _records(root / "openmic-2018-aggregated-labels.csv"):
        relevances.setdefault(record["sample_key"], {})[record["instrument"]] = float(record["relevance"])
    for split, file in (("training", "split01_train.csv"), ("test", "split01_test.csv")):
        for key in (root / "partitions" / file).read_text().split():
            present = [name for name, relevance in relevances[key].items() if relevance >= 0.5]
            yield _row(root, root / "audio" / key[:3] / f"{key}.ogg", present, split, relevances[key])


def _nsynth(root: Path, label: str) -> Iterator[Row]:
    for part, split in (("train", "training"), ("valid", "validation"), ("test", "test")):
        folder = root / f"nsynth-{part}"
        for name, note in json.loads((folder / "examples.json").read_text()).items():
            yield _row(root, folder / "audio" / f"{name}.wav", [str(note[label])], split)


def _magnatagatune(root: Path) -> Iterator[Row]:
    text = (root / "annotations_final.csv").read_text(encoding="utf-8-sig")
    records = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    tags = [column for column in records[0] if column not in ("clip_id", "mp3_path")]
    counts = {tag: sum(record[tag] == "1" for record in records) for tag in tags}
    top = sorted(tags, key=lambda tag: (-counts[tag], tag))[:50]
    for record in records:
        first = record["mp3_path"][0]
        split = "training" if first in "0123456789ab" else "validation" if first == "c" else "test"
        yield _row(root, root / "mp3" / record["mp3_path"], [tag for tag in top if record[tag] == "1"], split)


def _tau2020(root: Path) -> Iterator[Row]:
    for split, file in (("training", "fold1_train.csv"), ("test", "fold1_evaluate.csv")):
        for record in _records(root / "evaluation_setup" / file, delimiter="\t"):
            yield _row(root, root / record["filename"], [record["scene_label"]], split)


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("esc50", ("meta/esc50.csv",), _esc50, "accuracy", "mean of 5 folds"),
        Layout("speech_commands_v2", _SPEECH_COMMANDS, _speech_commands_v2, "accuracy", "35 words"),
        Layout(
            "speech_commands_v1", (*_SPEECH_COMMANDS, _NOISE), _speech_commands_v1, "accuracy",
            "10 words, _unknown_, and _silence_ cut from the noise files in time: the official test folder is another",
        ),
        Layout("voxceleb1", ("iden_split.txt",), _voxceleb1, "accuracy", "identification"),
        Layout("audioset_20k", _AUDIOSET, lambda root: _audioset(root, _TRAIN_LISTS[:1]),
               "mAP", "clips that still exist"),
        Layout("audioset_2m", (*_AUDIOSET, _TRAIN_LISTS[1]), lambda root: _audioset(root, _TRAIN_LISTS),
               "mAP", "clips that still exist"),
        Layout("fsd50k", _FSD50K, _fsd50k, "mAP"),
        Layout("urbansound8k", ("metadata/UrbanSound8K.csv",), _urbansound8k, "accuracy", "mean of 10 folds"),
        Layout("gtzan", ("genres/blues", "genres/jazz"), _gtzan, "accuracy", "fault-filtered split of 443 / 197 / 290"),
        Layout(
            "openmic2018", ("openmic-2018-aggregated-labels.csv", *_OPENMIC), _openmic, "mAP",
            "each instrument is scored on the clips that were annotated for it",
        ),
        Layout("nsynth_family", _NSYNTH, lambda root: _nsynth(root, "instrument_family_str"),
               "accuracy", "instrument families"),
        Layout("nsynth_pitch", _NSYNTH, lambda root: _nsynth(root, "pitch"), "accuracy", "all pitches",
               {"chroma": lambda pitch: str(int(pitch) % 12)}),
        Layout("magnatagatune", ("annotations_final.csv",), _magnatagatune, "mAP", "top 50 tags, untagged clips kept"),
        Layout("tau2020", _TAU, _tau2020, "accuracy", "development set, fold 1"),
    )
}  # fmt: skip
