"""Recognise and read published data sets: their folders, splits, folds and labels. Nothing is downloaded.

Copies differ in their folders. `published.lists` names other places of the lists, and `published.listed` finds audio
that does not lie at its published place. If a list of the data set is missing, the error names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from distill.data.clips.folders import Files, list_files
from distill.data.clips.manifest import Manifest, Rows
from distill.data.clips.published import readers
from distill.data.clips.published.listed import ABSENT, UNLISTED, Listed, Placing
from distill.data.clips.published.lists import Lists, find_mark, places_of
from distill.data.clips.summary import Notes
from distill.data.errors import UserError

_MAX_LEVELS = 2  # levels below a folder at which a data set is looked for
_SPEECH_COMMANDS = ("validation_list.txt", "testing_list.txt")
_AUDIOSET = ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv")
_FSD50K = tuple(f"FSD50K.ground_truth/{table}.csv" for table in ("dev", "eval", "vocabulary"))
_OPENMIC = ("partitions/split01_train.csv", "partitions/split01_test.csv")
_NSYNTH = ("nsynth-train/examples.json", "nsynth-valid/examples.json", "nsynth-test/examples.json")
_TAU = ("evaluation_setup/fold1_train.csv", "evaluation_setup/fold1_evaluate.csv")
_TRAIN_LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv")
_BOTH = "bed bird cat dog down eight five four go happy house left marvin nine no off on one right seven sheila six"
_WORDS_OF_BOTH = frozenset(f"{_BOTH} stop three tree two up wow yes zero".split())  # versions of Speech Commands
_WORDS_OF_V2 = frozenset(("backward", "follow", "forward", "learn", "visual"))


@dataclass(frozen=True)
class Layout:
    """A data set as it is published.

    Args:
        name: Value of `--task`.
        marks: Files and folders that every copy contains, at the places where they are published.
        read: Yields the clips of a copy, as its lists name them.
        metric: "accuracy" or "mAP".
        note: Deviations and protocol, printed with every score.
        coarser: Functions that map labels to groups, by the name of the additional metric.
        depth: Number of names at the end of a path that identify a clip: 1 for the file's name, 2 with its folder.
        anywhere: Whether copies place the audio differently, and often lack clips.
        doubt: Returns why a root with these marks holds another data set. Empty: it does not.
    """

    name: str
    marks: tuple[str, ...]
    read: Callable[[Lists], Iterable[Listed]]
    metric: str
    note: str = ""
    coarser: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    depth: int = 1
    anywhere: bool = False
    doubt: Callable[[Path], str] = lambda root: ""

    def missing(self, root: Path) -> list[str]:
        """Return the marks that a root does not have."""
        return [mark for mark in self.marks if find_mark(root, mark) is None]


def read_layout(task: str, root: str | Path, audio_root: Path | None = None) -> Manifest:
    """Read a data set by its name.

    Args:
        task: Name of the data set.
        root: Folder of the data set, or a folder at most two levels above it.
        audio_root: Folder of the audio, if it is not in `root`. Ids are paths below it.

    Raises:
        UserError: the data set is unknown, or one of its files is missing or not as published.
    """
    if task not in LAYOUTS:
        raise UserError(f"--task {task}: must be one of {', '.join(LAYOUTS)}")
    given, layout = Path(root), LAYOUTS[task]
    root = given if not layout.missing(given) else next(_roots(layout, given), given)
    if missing := layout.missing(root):
        raise UserError(f"--data {root}: not {task}, {missing[0]} is missing; --task auto reads any data")
    if doubt := layout.doubt(root):
        raise UserError(f"--data {root}: not {task}: {doubt}")
    placing = Placing(audio_root or root, layout.depth, layout.anywhere)
    try:
        rows = Rows.of(placing.rows(layout.read(Lists(root))), placing.root)
    except (KeyError, ValueError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"--data {root}: a list of {task} is not as published ({reason}); is it cut off?") from error
    if not rows and not placing.set_aside:
        raise UserError(f"--data {root}: the lists of {task} exist, but none of its audio")
    if not rows:
        first = placing.set_aside[0]
        raise UserError(f"--data {root}: no clip of {task} can be read; {first.id}: {first.detail}")
    notes = Notes(
        task,
        left_out={ABSENT: placing.absent, UNLISTED: placing.unlisted},
        set_aside=tuple(placing.set_aside),
        remarks=(placing.remark,) if placing.remark else (),
    )
    return Manifest(placing.root, rows, notes)


def find_layout(root: Path) -> str | None:
    """Return the name of the first layout whose files are in a folder, or None."""
    return next((name for name, layout in LAYOUTS.items() if not layout.missing(root) and not layout.doubt(root)), None)


@dataclass(frozen=True)
class Found:
    """A published data set below a folder.

    Args:
        task: Its name.
        folder: Its root, relative to the folder.
    """

    task: str
    folder: str


def find_below(files: Files) -> list[Found]:
    """Return the data sets at most two levels below a folder, in the order of their folders.

    Args:
        files: What is below the folder, listed with `LIST_NAMES`.
    """
    found: list[Found] = []
    for folder in sorted({folder for layout in LAYOUTS.values() for folder in _candidates(layout, files)}):
        # A list can belong to a root one level above too: the outer root is the data set.
        inside = any(folder.startswith(f"{outer.folder}/") for outer in found)
        if not inside and (task := find_layout(files.root / folder)) is not None:
            found.append(Found(task, folder))
    return found


def incomplete(root: Path) -> str:
    """Return which data set a folder resembles and what is missing, in words. Empty: it resembles none."""
    for layout in LAYOUTS.values():
        missing = layout.missing(root)
        if 0 < len(missing) < len(layout.marks):
            return f"not read as {layout.name}, since {missing[0]} is missing"
    return ""


def _roots(layout: Layout, above: Path) -> Iterator[Path]:
    """Yield the roots of a data set below a folder, in the order of their names."""
    if above.is_dir():
        candidates = sorted(set(_candidates(layout, list_files(above, LIST_NAMES))))
        yield from (above / folder for folder in candidates if not layout.missing(above / folder))


def _candidates(layout: Layout, files: Files) -> Iterator[str]:
    """Yield folders that hold the first mark of a data set, relative to the root of `files`."""
    for place in places_of(layout.marks[0]):
        is_pattern = "*" in place
        tail = f"/{PurePosixPath(place).parent if is_pattern else place}"
        for path in (*files.lists, *files.folders):
            if path.endswith(tail) and path.removesuffix(tail).count("/") < _MAX_LEVELS:
                yield path.removesuffix(tail)


def _version_of_speech_commands(root: Path) -> str:
    """Return "v0.01" or "v0.02" if the words of both or of the second are there; otherwise ""."""
    folder = readers.word_folder(root)
    words = {path.name for path in folder.iterdir() if path.name in _WORDS_OF_BOTH | _WORDS_OF_V2 and path.is_dir()}
    return "v0.02" if words & _WORDS_OF_V2 else "v0.01" if words == _WORDS_OF_BOTH else ""


def _not_v2(root: Path) -> str:
    is_first = _version_of_speech_commands(root) == "v0.01"
    return "it holds the 30 words of v0.01; see --task speech_commands_v0_01" if is_first else ""


def _not_v1(root: Path) -> str:
    return "" if _version_of_speech_commands(root) == "v0.01" else "it does not hold exactly the 30 words of v0.01"


def _is_tau2022(root: Path) -> bool:
    """Return whether the clips have the names of 2022, with a segment: city-location-segment-part-device."""
    try:
        first = next(readers.tau(Lists(root)), None)
    except KeyError:  # the list is not as published, which its reader says
        return False
    return first is not None and first.name.count("-") >= 5


def _not_tau2020(root: Path) -> str:
    return "its clips are named as in 2022; see --task tau2022" if _is_tau2022(root) else ""


def _not_tau2022(root: Path) -> str:
    return "" if _is_tau2022(root) else "its clips are not named as in 2022; see --task tau2020"


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("esc50", ("meta/esc50.csv",), readers.esc50, "accuracy", "mean of 5 folds"),
        Layout("speech_commands_v2", _SPEECH_COMMANDS, readers.speech_commands, "accuracy", "35 words", doubt=_not_v2),
        Layout("speech_commands_v0_01", _SPEECH_COMMANDS, readers.speech_commands, "accuracy", "30 words of v0.01",
               doubt=_not_v1),
        Layout(
            "speech_commands_v1", (*_SPEECH_COMMANDS, readers.NOISE), readers.twelve_commands, "accuracy",
            "10 words, _unknown_, and _silence_ cut from the noise files in time: the official test folder is another",
        ),
        Layout("voxceleb1", ("iden_split.txt",), readers.voxceleb1, "accuracy", "identification",
               depth=3, anywhere=True),
        Layout("audioset_20k", _AUDIOSET, lambda lists: readers.audioset(lists, _TRAIN_LISTS[:1]),
               "mAP", "clips that still exist", anywhere=True),
        Layout("audioset_2m", (*_AUDIOSET, _TRAIN_LISTS[1]), lambda lists: readers.audioset(lists, _TRAIN_LISTS),
               "mAP", "clips that still exist", anywhere=True),
        Layout("fsd50k", _FSD50K, readers.fsd50k, "mAP"),
        Layout("urbansound8k", ("metadata/UrbanSound8K.csv",), readers.urbansound8k, "accuracy", "mean of 10 folds"),
        Layout("gtzan", ("genres/blues", "genres/jazz"), readers.gtzan, "accuracy",
               "fault-filtered split of 443 / 197 / 290", anywhere=True),
        Layout(
            "openmic2018", ("openmic-2018-aggregated-labels.csv", *_OPENMIC), readers.openmic2018, "mAP",
            "each instrument is scored on the clips that were annotated for it",
        ),
        Layout("nsynth_family", _NSYNTH, lambda lists: readers.nsynth(lists, "instrument_family_str"),
               "accuracy", "instrument families"),
        Layout("nsynth_pitch", _NSYNTH, lambda lists: readers.nsynth(lists, "pitch"), "accuracy", "all pitches",
               {"chroma": lambda pitch: str(int(pitch) % 12)}),
        Layout("magnatagatune", ("annotations_final.csv",), readers.magnatagatune, "mAP",
               "top 50 tags, untagged clips kept", depth=2),
        Layout("tau2020", _TAU, readers.tau, "accuracy", "development set, fold 1", doubt=_not_tau2020),
        Layout("tau2022", _TAU, readers.tau, "accuracy", "development set, fold 1, clips of 1 s", doubt=_not_tau2022),
    )
}  # fmt: skip
LIST_NAMES = frozenset(
    PurePosixPath(place).name for layout in LAYOUTS.values() for place in places_of(layout.marks[0]) if "*" not in place
)
"""Names of the files that show where a data set may lie; for `list_files`."""
