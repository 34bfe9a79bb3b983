"""The quality of a trained student without labels: beside mel statistics and the untrained student."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset
from distill.data.encoders.encoder import Encoder
from distill.data.sampling.batches import Draws
from distill.evaluation.changes import add_noise, change_gain, delay, halves, longer_than, take
from distill.evaluation.cost import Cost, cost_of
from distill.evaluation.quality import Recalls, agreement, crop_matches, recalls, sensitivity, standardise
from distill.evaluation.results import MEL, UNTRAINED
from distill.objectives.parts.health import effective_rank, mean_cosine
from distill.run.crop_pairs import MIN_CROP_SECONDS
from distill.run.quality_table import (
    CropMatches,
    EncoderQuality,
    QualityReport,
    Sensitivity,
    TeacherQuality,
)
from distill.students.spaces import Space
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher

_MAX_CLIPS = 1000  # held-out and training clips together
_MAX_CHANGED_CLIPS = 64  # that are embedded again after each change
_MAX_HALVED_CLIPS = 200  # whose halves are embedded, by a teacher too
_COST_SECONDS = 10.0  # of the clip whose cost is measured, if whole clips are used
_LOW_HZ = 50.0  # of mel statistics, as in most front-ends; less at a rate that has no such band
_CHANGES: Mapping[str, Callable[[AudioBatch], AudioBatch]] = {"gain": change_gain, "noise": add_noise, "shift": delay}
Vectors = NDArray[np.float32]


def quality_report(
    student: Student,
    untrained: Student,
    teachers: Mapping[str, Teacher],
    held_out: ClipDataset,
    train: ClipDataset,
    batch_size: int,
    encoders: Mapping[str, Teacher] | None = None,
) -> QualityReport:
    """Measure the quality of a student on at most 1,000 clips.

    Held-out clips are measured. Training clips are further neighbours, so that the shares of small and of large
    held-out parts can be compared. Without held-out clips, there is no agreement.

    Args:
        student: Trained student.
        untrained: The same network with random weights.
        teachers: Teachers by name: encoders, or stores, which hold all clips. Empty: no agreement.
        held_out: Clips that were not used for training.
        train: Training clips.
        batch_size: Clips per batch.
        encoders: Teachers that can be run, by the same names, for the crops and the cost. None: those of `teachers`
            that are no stores.
    """
    if encoders is None:
        encoders = {name: teacher for name, teacher in teachers.items() if teacher.store is None}
    mel = mel_statistics(student)
    measured: dict[str, Encoder] = {"student": student, MEL: mel, UNTRAINED: untrained}
    reader = _Reader(measured, teachers, encoders)
    was_training = student.training
    with torch.inference_mode():
        for batch, is_held_out in _batches(held_out, train, batch_size):
            reader.add(batch, is_held_out)
    seconds = held_out.crop.seconds or _COST_SECONDS
    trained, baseline, random = (
        reader.quality(name, cost_of(encoder, seconds) if encoder is not untrained and reader.clips else None)
        for name, encoder in measured.items()
    )
    found = tuple(
        reader.teacher_quality(name, cost_of(encoders[name], seconds) if name in encoders and reader.clips else None)
        for name in teachers
    )
    student.train(was_training)
    answers = {name: reader.recalls(space, name) for name, space in student.spaces.items() if name in teachers}
    return QualityReport(reader.held_out, reader.clips, trained, baseline, random, found, answers)


def mel_statistics(encoder: Encoder) -> Teacher:
    """Return the mel statistics of the sample rate and the frequency band of an encoder."""
    rate = encoder.sample_rate
    low, high = encoder.frequency_band if isinstance(encoder, Student) else (0.0, rate / 2)
    low = low or min(_LOW_HZ, rate / 8)
    return TEACHERS.create("mel", sample_rate=rate, low_hz=low, high_hz=high)


class _Reader:
    """Embeds clips with all encoders, batch after batch, and measures the embeddings.

    Args:
        encoders: Student, mel statistics and the untrained student, by name.
        teachers: Teachers by name, which may be stores.
        runnable: Teachers that can be run, by name.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], teachers: Mapping[str, Teacher], runnable: Mapping[str, Teacher]
    ) -> None:
        self.encoders, self.teachers, self.runnable = encoders, teachers, runnable
        self.clips = self.held_out = 0
        self._changed_clips = self._halved_clips = 0
        self._vectors: dict[str, list[Vectors]] = {}

    def add(self, batch: AudioBatch, is_held_out: bool) -> None:
        """Embed a batch. The first clips are embedded again after each change, and their halves too."""
        for name, encoder in self.encoders.items():
            self._embed(name, encoder, batch)
        for name, teacher in self.teachers.items():
            self._embed(f"teacher {name}", teacher, batch)
        self.clips += len(batch)
        self.held_out += len(batch) if is_held_out else 0
        if count := min(len(batch), _MAX_CHANGED_CLIPS - self._changed_clips):
            self._changed_clips += count
            self._add_changed(take(batch, torch.arange(count)))
        if self.runnable and (long := longer_than(batch, 2 * MIN_CROP_SECONDS)) is not None:
            self._add_halves(long)

    def quality(self, name: str, cost: Cost | None) -> EncoderQuality:
        """Return the measures of a student or of mel statistics."""
        vectors, queries = self._all(name), np.arange(self.held_out)
        agreements = [agreement(vectors, self._all(f"teacher {teacher}"), queries) for teacher in self.teachers]
        clean = vectors[: self._changed_clips]
        changes = (sensitivity(clean, self._all(f"{name} {change}")) for change in _CHANGES)
        measures = Sensitivity(*changes)
        return EncoderQuality(tuple(agreements), *_health(vectors), measures, cost)

    def recalls(self, space: Space, teacher: str) -> Recalls:
        """Return how often a clip's own teacher vector is found by the student's vector in the teacher's space."""
        with torch.no_grad():
            answers = space.cpu()(torch.from_numpy(self._all("student").astype(np.float32))).numpy()
        return recalls(answers, self._all(f"teacher {teacher}"), np.arange(self.held_out))

    def teacher_quality(self, name: str, cost: Cost | None) -> TeacherQuality:
        """Return the measures of a teacher."""
        vectors = self._all(f"teacher {name}")
        usable = bool(np.isfinite(vectors).all() and standardise(vectors).any()) if len(vectors) else False
        return TeacherQuality(name, *_health(vectors), usable, self._crops(name), cost)

    def _crops(self, name: str) -> CropMatches | None:
        """Compare a teacher with mel statistics on two halves of each clip."""
        if name not in self.runnable or self._halved_clips < 2:
            return None
        teacher, mel = (
            crop_matches(self._all(f"{encoder} first"), self._all(f"{encoder} second")).astype(np.float64)
            for encoder in (f"teacher {name}", MEL)
        )
        error = float((teacher - mel).std(ddof=1) / math.sqrt(len(mel)))
        return CropMatches(len(mel), float(teacher.mean()), float(mel.mean()), error)

    def _add_changed(self, batch: AudioBatch) -> None:
        for change, function in _CHANGES.items():
            changed = function(batch)
            for name, encoder in self.encoders.items():
                self._embed(f"{name} {change}", encoder, changed)

    def _add_halves(self, batch: AudioBatch) -> None:
        """Embed both halves of the clips of a batch, as long as there are not enough."""
        if not (count := min(len(batch), _MAX_HALVED_CLIPS - self._halved_clips)):
            return
        self._halved_clips += count
        encoders = {MEL: self.encoders[MEL]} | {f"teacher {name}": encoder for name, encoder in self.runnable.items()}
        for part, half in zip(("first", "second"), halves(take(batch, torch.arange(count))), strict=True):
            for name, encoder in encoders.items():
                self._embed(f"{name} {part}", encoder, half)

    def _embed(self, name: str, encoder: Encoder, batch: AudioBatch) -> None:
        clip = encoder.eval()(batch.to(encoder.device)).clip
        self._vectors.setdefault(name, []).append(clip.float().cpu().numpy())

    def _all(self, name: str) -> Vectors:
        """Return the embeddings of all clips that were added under a name. Shape (clips, dim)."""
        return np.concatenate(self._vectors[name]) if name in self._vectors else np.zeros((0, 1), np.float32)


def _batches(held_out: ClipDataset, train: ClipDataset, batch_size: int) -> Iterator[tuple[AudioBatch, bool]]:
    """Yield batches of at most 1,000 readable clips, and whether they are held out; held-out clips first."""
    left = _MAX_CLIPS
    for clips, is_held_out in ((held_out, True), (train, False)):
        # In random order: a table is often sorted by class, and only the first clips are changed.
        rows = np.random.default_rng(0).permutation(len(clips))[:left].tolist()
        left -= len(rows)
        for begin in range(0, len(rows), batch_size):
            chosen = rows[begin : begin + batch_size]
            batch = clips.__getitems__(Draws(chosen, chosen)).batch
            if batch is not None:
                yield batch, is_held_out


def _health(vectors: Vectors) -> tuple[float, float]:
    """Return effective rank and mean cosine of two clips of (clips, dim); NaN if they cannot be computed."""
    if len(vectors) < 2 or not np.isfinite(vectors).all():
        return math.nan, math.nan
    rows = torch.from_numpy(vectors)
    return float(effective_rank(rows)), float(mean_cosine(rows))
