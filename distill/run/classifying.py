"""The scores of a trained classifier for clips of any length, batch after batch, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distill.data.clips.dataset import ClipDataset, Crop, Loaded
from distill.data.clips.loading import loader
from distill.data.clips.manifest import Manifest
from distill.data.errors import AudioError, UserError
from distill.data.sampling.batches import Draws
from distill.data.store.format import SetAside
from distill.objectives import OBJECTIVES
from distill.run.clip_scores import ScoredClips
from distill.run.embeddings import loader_workers
from distill.run.encoders import choose_device, introduction
from distill.run.filling import batches_of, embed_batch
from distill.run.folder import Run
from distill.run.precision import Prepared
from distill.run.recordings import embed_recording, longest_at_once
from distill.run.transfer import LOGITS
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier
from distill.students.saved import load_student
from distill.students.student import Student


@dataclass(frozen=True)
class Scorer:
    """A trained classifier that is run over clips.

    Args:
        student: Student with a classifier, in evaluation mode.
        classifier: The classifier.
        batch_size: Clips per batch, at most.
        workers: Processes that decode audio. 0 decodes in this process. -1: 0 on a CPU, up to 8 with a GPU.
    """

    student: Student
    classifier: Classifier
    batch_size: int = 16
    workers: int = -1

    @classmethod
    def load(cls, model: str, allow_import: str | None, batch_size: int, workers: int, device: str) -> Scorer:
        """Load a trained student that classifies clips, onto a device.

        Raises:
            UserError: there is no such student, or it has no classes.
        """
        student = load_student(model, allow_import)
        if not student.labels or (student.classifier is None and not student.own_logits):
            raise UserError(
                f"--model {model} has no classes: train it with `distill fit --objective classification`, or keep the "
                "head of a probe with `distill probe --save_head`"
            )
        classifier = student.classifier or Classifier(_kind_of_run(Run(model)))
        return cls(student.to(choose_device(device)), classifier, batch_size, workers)

    @classmethod
    def of(cls, student: Student, batch_size: int, workers: int, device: str) -> Scorer:
        """Return the scorer of a student that has a classifier, on a device."""
        assert student.classifier is not None
        return cls(student.to(choose_device(device)), student.classifier, batch_size, workers)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.student.labels

    @property
    def kind(self) -> str:
        """Whether a clip has "one of" the classes or "many"."""
        return self.classifier.kind

    @property
    def frequency_band(self) -> tuple[float, float]:
        """Lowest and highest frequency that the student covers, in Hz."""
        return self.student.frequency_band

    @property
    def encoder(self) -> Student:
        """The student, for the choice of windows."""
        return self.student

    def introduction(self) -> str:
        """Return a description of the student and the source of its weights."""
        return introduction(self.student)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Probability from which on each class counts as present. Shape (classes,)."""
        return np.array([self.classifier.threshold(column) for column in range(len(self.student.labels))])

    @property
    def crop(self) -> Crop:
        """The part of each clip that is scored by default: as long as in the training, from the middle."""
        return Crop(seconds=self.classifier.crop_seconds)

    def scores(self, manifest: Manifest, crop: Crop, task: str) -> Iterator[ScoredClips]:
        """Yield the logits of all clips, in order.

        Args:
            manifest: The clips.
            crop: Part of each clip that is scored.
            task: Name of the progress bar. Empty: there is none.
        """
        clips = ClipDataset(manifest, self.student.sample_rate, crop, longest_seconds=longest_at_once(self.student))
        batches = list(batches_of(clips, range(len(clips)), self.batch_size))
        workers = loader_workers(self.workers, self.student.device)
        draws = (Draws(rows, rows) for rows in batches)
        with tqdm(total=len(clips), desc=task, unit="clip", mininterval=0.5, disable=not task) as bar:
            for rows, loaded in zip(batches, loader(clips, draws, workers), strict=True):
                yield self._scored(clips, rows, loaded)
                bar.update(len(rows))

    def _scored(self, clips: ClipDataset, rows: Sequence[int], loaded: Loaded) -> ScoredClips:
        """Return the logits of a loaded batch."""
        found: dict[int, NDArray[np.float32]] = {}
        aside, seconds = list(loaded.set_aside), loaded.seconds
        if loaded.batch is not None:
            row_of = {clips.manifest.ids[row]: row for row in rows}
            logits = embed_batch(self.student, loaded.batch, self.student.device, LOGITS).get().logits
            found = {row_of[name]: row.numpy() for name, row in zip(loaded.batch.ids, logits, strict=True)}
        for number in loaded.long:
            clip = clips.manifest.rows[number]
            span = replace(clips.span(clip), longest_seconds=math.inf)
            try:
                pooled = embed_recording(Prepared(self.student), clip, span, False, lambda: None)
            except AudioError as error:
                aside.append(SetAside(clip.id, error.reason, error.detail))
            else:
                found[number], seconds = pooled.logits[0].cpu().float().numpy(), seconds.plus(span.measured[-1])
        return ScoredClips.of(found, clips.manifest, aside, seconds, len(self.student.labels))


def _kind_of_run(run: Run) -> str:
    """Return how a student of an earlier version was trained, whose folder does not say it; "one of" if unknown."""
    if not (run.path / "config.yaml").is_file():
        return ONE_OF
    objective = OBJECTIVES.parse(run.config.get("objective", "classification"))
    return MANY if objective.options.get("loss") == "binary" else ONE_OF
