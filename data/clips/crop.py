"""The part of each clip that is used, and how long clips are. Without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.read import Span, duration
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.progress import with_progress
from distill.data.errors import AudioError

CROPS = ("start", "centre", "random")
TOO_LONG = "too_long"  # reason of an `AudioError`: the clip is decoded piece by piece instead


@dataclass(frozen=True)
class Crop:
    """Settings of the crop: the part of each clip that is used.

    Args:
        seconds: Length of the crop, in seconds. 0 uses whole clips.
        position: "start", "centre", or "random", which changes in each epoch.
    """

    seconds: float = 10.0
    position: str = "centre"

    def __post_init__(self) -> None:
        if self.position not in CROPS:
            raise ValueError(f"crop.position {self.position!r}: must be one of {', '.join(CROPS)}")
        if not self.seconds >= 0:
            raise ValueError(f"crop.seconds {self.seconds}: must be at least 0")

    def place(self, seed: int, draw: int) -> float:
        """Return where the crop lies inside a clip, from 0 (at the start) to 1 (at the end).

        Args:
            seed: Seed of random crops.
            draw: Number of the draw of the clip.
        """
        if self.position == "random":
            return float(np.random.default_rng([seed, draw]).random())
        return 0.5 if self.position == "centre" else 0.0


class Seconds(NamedTuple):
    """The sound of clips, in seconds.

    Args:
        used: What the crop leaves.
        available: What the clips have.
    """

    used: float = 0.0
    available: float = 0.0

    def plus(self, other: Seconds) -> Seconds:
        """Return the sum of both."""
        return Seconds(self.used + other.used, self.available + other.available)


@dataclass(frozen=True, kw_only=True)
class ClipSpan(Span):
    """A span that measures its clip when the header is read, so that no file is opened twice.

    Args:
        longest_seconds: Longest part that is decoded at once.
        measured: The sound of the clip, added by `in_samples`.
    """

    longest_seconds: float = math.inf
    measured: list[Seconds] = field(default_factory=list)

    @classmethod
    def of(cls, row: Row, crop: Crop, position: float, longest_seconds: float = math.inf) -> Self:
        """Return the part of its file that a clip is.

        Args:
            row: The clip.
            crop: Part of the clip that is used.
            position: Where the crop lies inside the clip. 0: at the start, 0.5: centred, 1: at the end.
            longest_seconds: Longest part that is decoded at once.
        """
        return cls(
            start=row.start,
            duration=row.duration,
            max_seconds=crop.seconds or None,
            crop_position=position,
            longest_seconds=longest_seconds,
        )

    def in_samples(self, sample_rate: int, total: int) -> tuple[int, int]:
        """Return the first sample and the number of samples. Raises AudioError, also for a part that is too long."""
        first, samples = super().in_samples(sample_rate, total)
        whole = Span(start=self.start, duration=self.duration).in_samples(sample_rate, total)[1]
        self.measured.append(Seconds(samples / sample_rate, whole / sample_rate))
        if samples > self.longest_seconds * sample_rate:
            raise AudioError(TOO_LONG, f"{samples / sample_rate:.0f} s")
        return first, samples


def clip_seconds(manifest: Manifest) -> NDArray[np.float64]:
    """Return the length of each clip in seconds (clips,); 0 for a file that cannot be read.

    Only the headers of clips of unknown length are read.
    """
    lengths = manifest.rows.durations.copy()
    unknown = np.flatnonzero(np.isnan(lengths)).tolist()
    for number in with_progress(unknown, "read lengths", "clip", delay=5, leave=False):
        lengths[number] = row_seconds(manifest.rows[number])
    return lengths


def row_seconds(row: Row) -> float:
    """Return the length of a clip in seconds; 0 if its file cannot be read, since decoding reports the reason."""
    try:
        return row.duration or max(0.0, duration(row.path, row.part) - row.start)
    except AudioError:
        return 0.0
