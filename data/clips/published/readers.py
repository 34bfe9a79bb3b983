"""Read the lists of published data sets. Each reader yields the clips as they are listed, and opens no audio.

Splits are named "training", "validation" and "test", and folds by their number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from distill.data.clips.folders import list_files
from distill.data.clips.published.listed import Listed
from distill.data.clips.published.lists import Lists
from distill.data.errors import AudioError

NOISE = "_background_noise_"
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_LOOKS = 50  # listed clips that are looked at to find the folder of the words
# How tools name the files of AudioSet. {clip}: its id; {a}, {b}: start and end in seconds; {a_ms}, {b_ms}: in ms;
# {a_text}, {b_text}: as in the lists, such as 30.000.
_AUDIOSET_NAMES = (
    "Y{clip}", "{clip}", "{clip}_{a:.0f}_{b:.0f}", "{clip}_{a_text}_{b_text}", "{clip}_{a_ms}_{b_ms}",
    "{clip}_{a:.1f}_{b:.1f}", "Y{clip}_{a:.0f}_{b:.0f}", "Y{clip}_{a_text}_{b_text}", "Y{clip}_{a_ms}_{b_ms}",
    "Y{clip}_{a:.1f}_{b:.1f}", "{clip}-{a:.0f}-{b:.0f}", "{clip}_{a:.0f}-{b:.0f}", "Y{clip}_{a:.0f}-{b:.0f}",
    "{clip}_{a:.0f}", "{clip}_{a_text}", "{clip}_{a_ms}", "Y{clip}_{a:.0f}", "{clip}_{a:06.0f}",
)  # fmt: skip


def esc50(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of ESC-50."""
    for record in lists.records("meta/esc50.csv"):
        yield Listed(f"audio/{record['filename']}", (record["category"],), record["fold"])


def word_folder(root: Path) -> Path:
    """Return the folder of the words of Speech Commands: the root, or `audio` as on Kaggle."""
    names = Lists(root).text("testing_list.txt").split()[:_LOOKS]
    inner = root / "audio"
    is_inner = any((inner / name).exists() for name in names) and not any((root / name).exists() for name in names)
    return inner if is_inner else root


def speech_commands(lists: Lists) -> Iterator[Listed]:
    """Yield the spoken clips of Speech Commands, with their words as labels."""
    split_of = {
        name.rpartition(".")[0]: split
        for split, mark in (("validation", "validation_list.txt"), ("test", "testing_list.txt"))
        for name in lists.text(mark).split()
    }
    base = word_folder(lists.root)
    below = base.relative_to(lists.root)
    for name in list_files(base).audio:
        word, _, file = name.partition("/")
        if "a" <= word[:1] <= "z" and file and "/" not in file:
            yield Listed((below / name).as_posix(), (word,), split_of.get(name.rpartition(".")[0], "training"))


def twelve_commands(lists: Lists) -> Iterator[Listed]:
    """Yield ten words, all others as `_unknown_`, and seconds of the noise files as `_silence_`."""
    for clip in speech_commands(lists):
        word = clip.labels[0]
        yield clip._replace(labels=(word if word in KEYWORDS else "_unknown_",))
    from distill.data.audio.read import duration  # here, since other data sets need no decoder

    base = word_folder(lists.root)
    for path in sorted((base / NOISE).glob("*.wav")):
        try:
            seconds = int(duration(path))
        except AudioError:
            continue
        for second in range(seconds):
            place = second / max(1, seconds)
            split = "training" if place < 0.8 else "validation" if place < 0.9 else "test"
            name = path.relative_to(lists.root).as_posix()
            yield Listed(name, ("_silence_",), split, window=(float(second), 1.0))


def voxceleb1(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of the identification split of VoxCeleb1."""
    splits = {"1": "training", "2": "validation", "3": "test"}
    for line in filter(None, lists.text("iden_split.txt").splitlines()):
        part, _, name = line.strip().partition(" ")
        yield Listed(f"wav/{name}", (name.partition("/")[0],), splits[part])


def audioset(lists: Lists, training: tuple[str, ...]) -> Iterator[Listed]:
    """Yield the segments of AudioSet; `training` names the lists of the training clips."""
    vocabulary = {record["mid"] for record in lists.records("class_labels_indices.csv")}
    for mark, split in (*((mark, "training") for mark in training), ("eval_segments.csv", "test")):
        with open(lists.path(mark), newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = (line for line in file if line.strip() and not line.startswith("#"))
            for clip, start, end, mids in csv.reader(lines, skipinitialspace=True):
                labels = _known_labels(vocabulary, mids.split(","), "class_labels_indices.csv")
                yield Listed(f"Y{clip}.wav", labels, split, stems=partial(_audioset_stems, clip, start, end))


def _audioset_stems(clip: str, start: str, end: str) -> Iterator[str]:
    """Yield the names that the file of a segment may have, without suffix."""
    a, b = float(start), float(end)
    values = {"clip": clip, "a": a, "b": b, "a_text": start, "b_text": end}
    values |= {"a_ms": round(1000 * a), "b_ms": round(1000 * b)}
    return (name.format_map(values) for name in _AUDIOSET_NAMES)


def _known_labels(vocabulary: Iterable[str], labels: list[str], table: str) -> tuple[str, ...]:
    """Return the labels. Raises ValueError if one of them is not in the vocabulary of `table`."""
    if unknown := [label for label in labels if label not in vocabulary]:
        raise ValueError(f"the label {unknown[0]!r} is not in {table}")
    return tuple(labels)


def fsd50k(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of FSD50K."""
    splits = {"train": "training", "val": "validation"}
    table = csv.reader(io.StringIO(lists.text("FSD50K.ground_truth/vocabulary.csv")))  # it has no header
    vocabulary = {line[1] for line in table}
    for part in ("dev", "eval"):
        for record in lists.records(f"FSD50K.ground_truth/{part}.csv"):
            labels = _known_labels(vocabulary, record["labels"].split(","), "vocabulary.csv")
            split = splits[record["split"]] if part == "dev" else "test"
            yield Listed(f"FSD50K.{part}_audio/{record['fname']}.wav", labels, split)


def urbansound8k(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of UrbanSound8K."""
    for record in lists.records("metadata/UrbanSound8K.csv"):
        fold = record["fold"]
        yield Listed(f"audio/fold{fold}/{record['slice_file_name']}", (record["class"],), fold)


def gtzan(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of GTZAN in the fault-filtered split of Kereliuk, Sturm and Larsen (2015).

    The faults are those that Sturm (2013) lists. The split is that of jordipons/sklearn-audio-transfer-learning and of
    torchaudio.
    """
    with open(Path(__file__).with_name("gtzan_splits.csv"), newline="") as file:
        split_of = {record["clip"]: record["split"] for record in csv.DictReader(file)}
    for clip in sorted(split_of):
        genre = clip.partition(".")[0]
        yield Listed(f"genres/{genre}/{clip}.wav", (genre,), split_of[clip])


def openmic2018(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of OpenMIC-2018, with the instruments that were annotated."""
    # From the table, since the keys of openmic-2018.npz are pickled objects.
    relevances: dict[str, dict[str, float]] = {}
    for record in lists.records("openmic-2018-aggregated-labels.csv"):
        relevances.setdefault(record["sample_key"], {})[record["instrument"]] = float(record["relevance"])
    for split, mark in (("training", "split01_train.csv"), ("test", "split01_test.csv")):
        for key in lists.text(f"partitions/{mark}").split():
            present = tuple(name for name, relevance in relevances[key].items() if relevance >= 0.5)
            yield Listed(f"audio/{key[:3]}/{key}.ogg", present, split, tuple(relevances[key]))


def nsynth(lists: Lists, label: str) -> Iterator[Listed]:
    """Yield the notes of NSynth; `label` names the property that is the label."""
    for part, split in (("train", "training"), ("valid", "validation"), ("test", "test")):
        for name, note in json.loads(lists.text(f"nsynth-{part}/examples.json")).items():
            yield Listed(f"nsynth-{part}/audio/{name}.wav", (str(note[label]),), split)


def magnatagatune(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of MagnaTagATune with the 50 most frequent tags."""
    records = list(lists.records("annotations_final.csv", delimiter="\t"))
    tags = [column for column in records[0] if column not in ("clip_id", "mp3_path")]
    counts = {tag: sum(record[tag] == "1" for record in records) for tag in tags}
    top = sorted(tags, key=lambda tag: (-counts[tag], tag))[:50]
    for record in records:
        first = record["mp3_path"][0]
        split = "training" if first in "0123456789ab" else "validation" if first == "c" else "test"
        yield Listed(f"mp3/{record['mp3_path']}", tuple(tag for tag in top if record[tag] == "1"), split)


def tau(lists: Lists) -> Iterator[Listed]:
    """Yield the clips of fold 1 of a development set of TAU Urban Acoustic Scenes."""
    for split, mark in (("training", "fold1_train.csv"), ("test", "fold1_evaluate.csv")):
        for record in lists.records(f"evaluation_setup/{mark}", delimiter="\t"):
            yield Listed(record["filename"], (record["scene_label"],), split)
