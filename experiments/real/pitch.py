"""Pitch from single frames: distillation of a pitch tracker, frame by frame and clip by clip."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import distill
from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.encoders.encoder import Encoder
from distill.data.sampling.batches import Draws
from distill.evaluation.protocols import PROTOCOLS, Clips
from experiments.real.labels import instrument
from experiments.real.rows import spread
from experiments.real.study import Recipe, Record, Study, new_student

_FRAMES = 8  # of each note, evenly spread
_MARGIN = 0.05  # seconds before the first and after the last of them
_BATCH, _FOLDS = 16, 3


class Notes:
    """Notes with their pitch classes, of train and test instruments.

    Args:
        study: Place of the tables.
    """

    def __init__(self, study: Study) -> None:
        self.manifest = read_manifest(str(study.table("notes")))
        rows = self.manifest.rows
        names = self.manifest.classes
        self.truth = np.array([[name in row.labels for name in names] for row in rows], dtype=np.float32)
        self.train = np.array([row.split == "training" for row in rows])
        # All notes of an instrument are in one fold, because they have more in common than the pitch.
        instruments = [instrument(row.path) for row in rows]
        places = {name: place for place, name in enumerate(sorted(set(itertools.compress(instruments, self.train))))}
        self.folds = np.array([places.get(name, 0) % _FOLDS for name in instruments])

    def frames(self, encoder: Encoder) -> NDArray[np.float32]:
        """Return the frames of an encoder nearest to the same times of each note. Shape (notes, frames, dim)."""
        clips = ClipDataset(self.manifest, encoder.sample_rate, Crop(seconds=0))
        parts = []
        for first in range(0, len(clips), _BATCH):
            rows = range(first, min(first + _BATCH, len(clips)))
            batch = clips.__getitems__(Draws(rows, rows)).batch
            if batch is None or len(batch) != len(rows):
                raise SystemExit(f"{self.manifest.source}: some notes cannot be read")
            parts.append(_nearest_frames(encoder, batch))
        return np.concatenate(parts)

    def score(self, encoder: Encoder) -> float:
        """Return the accuracy of a linear probe on single frames of the test instruments.

        The strength of the L2 penalty is chosen by folds of the train instruments.
        """
        frames = self.frames(encoder)
        candidates = self._candidates(frames, self.train)
        inner = []
        for fold in range(_FOLDS):
            held_out = self.train & (self.folds == fold)
            trained = self._candidates(frames, self.train & ~held_out)
            inner.append([self._accuracy(predict, frames, held_out) for predict in trained])
        best = int(np.mean(inner, axis=0).argmax())
        return self._accuracy(candidates[best], frames, ~self.train)

    def _candidates(self, frames: NDArray[np.float32], rows: NDArray[np.bool_]) -> list[Any]:
        x, y = frames[rows].reshape(-1, frames.shape[2]), self.truth[rows].repeat(_FRAMES, axis=0)
        return list(PROTOCOLS["linear"].candidates(Clips(x, y, None, True), 0))

    def _accuracy(self, predict: Any, frames: NDArray[np.float32], rows: NDArray[np.bool_]) -> float:
        predicted = predict(frames[rows].reshape(-1, frames.shape[2])).argmax(1)
        return float((predicted == self.truth[rows].argmax(1).repeat(_FRAMES)).mean())


@torch.inference_mode()
def _nearest_frames(encoder: Encoder, batch: AudioBatch) -> NDArray[np.float32]:
    """Return the valid frames nearest to evenly spread times of each clip. Shape (batch, frames, dim)."""
    embeddings = encoder(batch)
    seconds = batch.lengths / batch.sample_rate
    places = torch.linspace(0, 1, _FRAMES)
    times = _MARGIN + places * (seconds - 2 * _MARGIN).clamp(min=0).unsqueeze(1)  # (batch, frames)
    distance = (embeddings.frame_times - times.unsqueeze(2)).abs()
    nearest = distance.masked_fill(~embeddings.frame_mask.unsqueeze(1), torch.inf).argmin(2)
    dim = embeddings.frames.shape[2]
    return embeddings.frames.gather(1, nearest.unsqueeze(2).expand(-1, -1, dim)).float().numpy()


def crepe(study: Study) -> list[str]:
    """Distil CREPE's frames and clips, and probe the pitch of single frames."""
    student = ("--student", "cnn")
    recipes = {
        "distilled, frames": Recipe("crepe: frames", "crepe", (*student, "--objective.level", "frame"), frames=True),
        "distilled, clips": Recipe("crepe: clips", "crepe", student),
    }
    groups: dict[str, list[Record]] = {
        "mel frames": [_baseline(study, "mel")],
        "untrained": [_untrained(study, seed) for seed in study.seeds],
    }
    for name, recipe in recipes.items():
        groups[name] = [_distilled(study, recipe, seed) for seed in study.seeds]
    groups["CREPE, the teacher"] = [_baseline(study, "crepe")]
    lines = ["| frames of | pitch class | CPU minutes |", "|---|---|---|"]
    for name, records in groups.items():
        minutes = spread([r["cpu_seconds"] / 60 for r in records], 1) if "cpu_seconds" in records[0] else ""
        lines.append(f"| {name} | {spread([record['pitch'] for record in records])} | {minutes} |")
    return [*lines, "", "Goal: frames above clips, and above mel frames."]


def _baseline(study: Study, name: str) -> Record:
    measured = {"row": "pitch", "encoder": name}
    return study.once(measured, lambda: {"pitch": Notes(study).score(study.encoder(name))})


def _untrained(study: Study, seed: int) -> Record:
    measured = {"row": "pitch", "encoder": "untrained", "seed": seed}
    return study.once(measured, lambda: {"pitch": Notes(study).score(new_student({"class_path": "cnn"}, seed))})


def _distilled(study: Study, recipe: Recipe, seed: int) -> Record:
    run = study.fit(recipe, seed)

    def probe() -> Record:
        student = distill.load(str(study.trained(recipe, seed)))
        return {"pitch": Notes(study).score(student), "cpu_seconds": run["cpu_seconds"]}

    return study.once({"row": "pitch", "encoder": recipe.name, "seed": seed, "words": recipe.words}, probe)
