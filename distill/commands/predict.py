"""`distill predict`: the scores of a trained classifier for files, or for windows of hours of sound, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.commands.arguments import called_with
from distill.data.audio.read import AUDIO_SUFFIXES
from distill.data.clips.crop import Crop, Seconds
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.windows import root_of
from distill.data.encoders.tiling import Windows
from distill.data.errors import UserError, require_one_of
from distill.data.store.format import SetAside
from distill.run.clip_scores import ClipScorer
from distill.run.predictions import (
    ALL,
    BEST,
    CHOICES,
    PRESENT,
    Choice,
    Place,
    PredictionTable,
    check_table,
)
from distill.run.set_aside import report_set_aside
from distill.run.sound_share import printing
from distill.run.window_rows import WHOLE, row_tiling, window_rows
from distill.students.decisions import ONE_OF, probabilities_of


@dataclass(frozen=True)
class PredictArguments:
    """The arguments of `predict`: a trained classifier, sounds, and the table.

    Args:
        model: Student with classes: a run folder, a student folder, a hub id, or an ONNX file of `distill export`. The
            file needs no PyTorch.
        data: Sounds: an audio file, a folder, a table, or the folder of a published data set. In Python also
            `distill.Data`.
        out: Table to write: .csv, .parquet, or .txt for a selection table of Raven.
        windows: Score each window of each clip, so that hours of sound have a row for each. True: the windows of the
            student. A number: their length in seconds. `Windows`: length and hop. False: one score for each clip.
        scores: "best": a row for the most probable classes of a clip. "present": a row for each class that reaches its
            threshold. "all": a row for each clip, with a column for each class. "auto": "best" if each clip of the
            training had one class, otherwise and for Raven "present".
        top: Number of the most probable classes, for "best".
        threshold: Probability that a class must reach, for all classes. None: for "present" the threshold of each class
            that was best on held-out clips, for "best" no threshold.
        crop: Part of each clip that is scored. None: as long as in the training, from the middle.
        batch_size: Clips per batch.
        workers: Processes that decode audio. 0 decodes in the main process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package from which the student's own class may be imported. None: no package.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
    """

    model: str
    data: str | Data
    out: str
    windows: bool | float | Windows = False
    scores: str = "auto"
    top: int = 1
    threshold: float | None = None
    crop: Crop | None = None
    batch_size: int = 16
    workers: int = -1
    device: str = "auto"
    allow_import: str | None = None
    root: str = ""

    def check(self) -> None:
        """Raise UserError for an invalid value, before anything is loaded."""
        require_one_of("--scores", self.scores, CHOICES)
        check_table(Path(self.out), self.scores)
        if self.top < 1:
            raise UserError(f"--top {self.top}: must be at least 1")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UserError(f"--threshold {self.threshold:g}: must be a probability, from 0 to 1")

    @property
    def is_raven(self) -> bool:
        """Whether the table is for Raven."""
        return Path(self.out).suffix.lower() == ".txt"

    def scorer(self) -> ClipScorer:
        """Load the classifier. Raises UserError if there is none."""
        if self.model.lower().endswith(".onnx"):
            from distill.run.exported_scores import ExportedScorer

            return ExportedScorer.load(self.model, self.batch_size)
        from distill.run.classifying import Scorer  # here, since it imports PyTorch

        return Scorer.load(self.model, self.allow_import, self.batch_size, self.workers, self.device)

    def choice(self, scorer: ClipScorer) -> Choice:
        """Return which classes of a clip become rows."""
        scores = self.scores
        if scores == "auto":
            scores = BEST if scorer.kind == ONE_OF and not self.is_raven else PRESENT
        thresholds = scorer.thresholds if scores == PRESENT else np.zeros(len(scorer.labels))
        if self.threshold is not None:
            thresholds = np.full(len(thresholds), self.threshold)
        return Choice(scores, thresholds, self.top)


class Predicted(NamedTuple):
    """A table of predictions.

    Args:
        path: The file.
        rows: Number of its rows.
        clips: Number of the clips or windows that were scored.
    """

    path: Path
    rows: int
    clips: int


@called_with(PredictArguments)
def predict(arguments: PredictArguments, given: frozenset[str]) -> Predicted:
    """Score sounds with a trained classifier, and write a table.

    Its columns are path, start, end, class and probability; with `scores` "all" path, start, end and one for each
    class. Times are in seconds. Memory does not grow with the length of the sounds.

    Returns:
        The table, and how much is in it.

    Raises:
        UserError: the student has no classes, there is no sound, or no clip could be scored. Then no file is written.
    """
    arguments.check()
    scorer = arguments.scorer()
    manifest = _manifest(Data.of(arguments.data, arguments.root))
    print(summary_of(manifest))
    if arguments.is_raven and manifest.rows.parts is not None:
        raise UserError(f"--out {arguments.out}: Raven cannot open the sounds inside of {manifest.source}")
    print(scorer.introduction())
    crop = arguments.crop or scorer.crop
    root = "" if arguments.is_raven else f"{root_of(manifest)}/"
    if arguments.windows is not False:
        tiling = row_tiling(scorer.encoder, arguments.windows, arguments.crop)
        manifest, crop = window_rows(scorer.encoder, manifest, tiling), WHOLE
    path = Path(arguments.out)
    table = PredictionTable(path, scorer.labels, arguments.choice(scorer), scorer.frequency_band)
    reading = _Reading(scorer, manifest, crop, root)
    try:
        table.write(reading.batches())
    finally:
        report_set_aside(reading.set_aside, manifest, path.with_name(f"{path.stem}.set_aside.csv"))
    printing(crop, "--windows scores all of it")(reading.seconds)
    named = "one for each clip" if table.choice.scores == ALL else f"classes: {_described(table.choice)}"
    print(f"{table.rows:,} rows of {reading.clips:,} clips or windows in {path} ({named})")
    return Predicted(path, table.rows, reading.clips)


class _Reading:
    """The scores of a manifest on their way to the table, with what they leave behind.

    Args:
        scorer: The classifier.
        manifest: The clips or windows.
        crop: Part of each that is scored.
        root: Folder that paths are relative to. It ends in "/". Empty: paths stay as they are.
    """

    def __init__(self, scorer: ClipScorer, manifest: Manifest, crop: Crop, root: str) -> None:
        self.scorer, self.manifest, self.crop, self.root = scorer, manifest, crop, root
        self.set_aside: list[SetAside] = []
        self.seconds, self.clips = Seconds(), 0

    def batches(self) -> Iterator[tuple[Sequence[Place], NDArray[np.float64]]]:
        """Yield places and probabilities. Raises UserError at the end if no clip could be scored."""
        kind = self.scorer.kind
        for batch in self.scorer.scores(self.manifest, self.crop, "predict"):
            self.set_aside += batch.set_aside
            self.seconds, self.clips = self.seconds.plus(batch.seconds), self.clips + len(batch.rows)
            if batch.rows:
                places = [Place.of(self.manifest.rows[row], self.root) for row in batch.rows]
                yield places, probabilities_of(batch.logits, kind)
        if not self.clips:
            first = f"; the first: {self.set_aside[0].id} ({self.set_aside[0].reason})" if self.set_aside else ""
            raise UserError(f"none of {len(self.manifest)} clips could be scored{first}")


def _manifest(data: Data) -> Manifest:
    """Return the clips of `--data`, which may be one audio file."""
    path = Path(data.path)
    if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES and not data.root:
        return Manifest(path.parent, [Row(path.name, path)])
    return read_manifest(data)


def _described(choice: Choice) -> str:
    """Return in words which classes are rows."""
    low, high = choice.thresholds.min(), choice.thresholds.max()
    reached = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    least = f", with a probability of at least {reached}" if high > 0 else ""
    return (f"the {choice.top} most probable" if choice.scores == BEST else "all that are present") + least
