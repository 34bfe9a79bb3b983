"""The scores of an exported classifier for clips of any length, batch after batch, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.crop import ClipSpan, Crop, Seconds
from distill.data.clips.manifest import Manifest
from distill.data.clips.progress import with_progress
from distill.data.errors import AudioError, UserError
from distill.data.store.format import SetAside
from distill.run.clip_scores import ScoredClips
from distill.runtimes.exported import ExportedStudent


@dataclass(frozen=True)
class ExportedScorer:
    """A classifier in an ONNX file that is run over clips.

    Args:
        encoder: Student with classes.
        batch_size: Clips whose scores are returned together.
    """

    encoder: ExportedStudent
    batch_size: int = 16

    @classmethod
    def load(cls, model: str, batch_size: int) -> Self:
        """Open the file of a classifier.

        Raises:
            UserError: there is no such file, or its student has no classes.
        """
        student = ExportedStudent(model)
        if not student.labels:
            raise UserError(f"--model {model} has no classes: export a student with a classifier")
        return cls(student, batch_size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.encoder.labels

    @property
    def kind(self) -> str:
        """Whether a clip has "one of" the classes or "many"."""
        return self.encoder.kind

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Probability from which on each class counts as present. Shape (classes,)."""
        return self.encoder.thresholds

    @property
    def crop(self) -> Crop:
        """The part of each clip that is scored by default: as long as in the training, from the middle."""
        return Crop(seconds=self.encoder.crop_seconds)

    @property
    def frequency_band(self) -> tuple[float, float]:
        """Lowest and highest frequency that the student covers, in Hz."""
        return self.encoder.frequency_band

    def introduction(self) -> str:
        """Return a description of the student."""
        return self.encoder.introduction()

    def scores(self, manifest: Manifest, crop: Crop, task: str) -> Iterator[ScoredClips]:
        """Yield the logits of all clips, in order.

        Args:
            manifest: The clips.
            crop: Part of each clip that is scored.
            task: Name of the progress bar. Empty: there is none.
        """
        found, aside, seconds = dict[int, NDArray[np.float32]](), list[SetAside](), Seconds()
        for number in with_progress(range(len(manifest)), task, "clip"):
            row = manifest.rows[number]
            span = ClipSpan.of(row, crop, crop.place(0, number))
            try:
                found[number] = self.encoder.embed_pieces(self.encoder.pieces_of(row.path, span, row.part)).logits[0]
            except AudioError as error:
                aside.append(SetAside(row.id, error.reason, error.detail))
            else:
                seconds = seconds.plus(span.measured[-1])
            if (number + 1) % self.batch_size == 0 or number + 1 == len(manifest):
                yield ScoredClips.of(found, manifest, aside, seconds, len(self.labels))
                found, aside, seconds = {}, [], Seconds()
