"""Scores of clips, and what computes them: a student in PyTorch, or an exported one without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.crop import Crop, Seconds
from distill.data.clips.manifest import Manifest
from distill.data.store.format import SetAside
from distill.run.window_rows import Windowed


@dataclass(frozen=True)
class ScoredClips:
    """Some clips with their logits.

    Args:
        rows: Numbers of the clips in the manifest, in increasing order.
        logits: Calibrated logits. Shape (clips, classes).
        set_aside: Clips between them that cannot be used.
        seconds: Sound of the clips.
    """

    rows: list[int]
    logits: NDArray[np.float32]
    set_aside: tuple[SetAside, ...]
    seconds: Seconds

    @classmethod
    def of(
        cls,
        logits: Mapping[int, NDArray[np.float32]],
        manifest: Manifest,
        set_aside: Iterable[SetAside],
        seconds: Seconds,
        classes: int,
    ) -> Self:
        """Return the clips in their order. Those whose logits are not finite are set aside.

        Args:
            logits: Logits (classes,) by number of the clip in the manifest.
            manifest: All clips.
            set_aside: Clips that cannot be used.
            seconds: Sound of the clips.
            classes: Number of the classes.
        """
        kept = sorted(row for row, values in logits.items() if np.isfinite(values).all())
        lost = [
            SetAside(manifest.ids[row], "not_finite", "the student gives NaN or infinite values")
            for row in sorted(logits.keys() - set(kept))
        ]
        table = np.stack([logits[row] for row in kept]) if kept else np.zeros((0, classes))
        return cls(kept, table.astype(np.float32), (*set_aside, *lost), seconds)


class ClipScorer(Protocol):
    """A trained classifier that is run over clips."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def kind(self) -> str:
        """Whether a clip has "one of" the classes or "many"."""

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Probability from which on each class counts as present. Shape (classes,)."""

    @property
    def crop(self) -> Crop:
        """The part of each clip that is scored by default."""

    @property
    def frequency_band(self) -> tuple[float, float]:
        """Lowest and highest frequency that the student covers, in Hz."""

    @property
    def encoder(self) -> Windowed:
        """The student, for the choice of windows."""

    def introduction(self) -> str:
        """Return a description of the student."""

    def scores(self, manifest: Manifest, crop: Crop, task: str) -> Iterator[ScoredClips]:
        """Yield the logits of all clips, in order.

        Args:
            manifest: The clips.
            crop: Part of each clip that is scored.
            task: Name of the progress bar. Empty: there is none.
        """
