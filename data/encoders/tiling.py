"""How long clips are cut into windows: settings, and the windows that follow from them. Without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

POOLINGS = ("mean", "max")
_MIN_SECONDS = 0.01
_NEGLIGIBLE = 0.01  # share of a window; a shorter rest of a clip gets no window of its own


@dataclass(frozen=True)
class Windows:
    """Settings of windows: how long clips are cut, and how the embeddings of their windows are joined.

    Window k begins at k * hop seconds. The last window holds the rest of the clip. Where two windows overlap, each
    frame comes from the window whose middle is nearer.

    Args:
        seconds: Length of a window, in seconds. 0 disables windows.
        hop: Seconds from the start of one window to the start of the next. None: the part of a window that its frames
            cover, so that the frames of a clip have no gap. 0 means `seconds`. A hop above `seconds` skips audio.
        pooling: How the clip embeddings of windows are joined: "mean" (weighted by the valid seconds of each window)
            or "max".

    Raises:
        ValueError: `seconds` or `hop` is between 0 and 0.01, negative or infinite, or the pooling is unknown.
    """

    seconds: float = 10.0
    hop: float | None = None
    pooling: str = "mean"

    def __post_init__(self) -> None:
        if any(value != 0 and not _MIN_SECONDS <= value < math.inf for value in (self.seconds, self.hop or 0.0)):
            raise ValueError(
                f"windows: seconds {self.seconds} and hop {self.hop}: must be 0 or at least {_MIN_SECONDS}"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"windows.pooling {self.pooling!r}: must be one of {', '.join(POOLINGS)}")

    def tiling(self, covered: Callable[[float], Covered]) -> Tiling:
        """Return the windows with all their numbers.

        Args:
            covered: Returns the part of a window of some seconds that its frames cover. It is called if `hop` is None.
        """
        if self.hop is None and (part := covered(self.seconds)).seconds < self.seconds:
            return Tiling(self.seconds, part.seconds, part.start, part.end, self.pooling, is_gapless=True)
        hop = self.hop or self.seconds
        step = min(hop, self.seconds)
        begin = (self.seconds - step) / 2
        return Tiling(self.seconds, hop, begin, begin + step, self.pooling, is_gapless=self.hop is None)


class Covered(NamedTuple):
    """The part of a window that its frames cover, in seconds from the start of the window.

    Args:
        start: Start of the first frame. It is below 0 where frames are centred on the first sample.
        end: End of the last frame.
    """

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Length of the part."""
        return round(self.end - self.start, 9)  # without the noise of the subtraction, since fingerprints hold it


@dataclass(frozen=True)
class Tiling:
    """Windows whose numbers are all known, in seconds.

    Args:
        seconds: Length of a window.
        hop: Distance of the starts of two windows.
        begin: A later frame of a window belongs to it; an earlier one to the window before.
        end: A frame of a window from here on belongs to the next window.
        pooling: How the clip embeddings of windows are joined: "mean" or "max".
        is_gapless: Whether the hop is that at which frames have no gap.
    """

    seconds: float
    hop: float
    begin: float
    end: float
    pooling: str
    is_gapless: bool

    @property
    def whole_seconds(self) -> float:
        """Longest clip that is encoded as it is, in seconds."""
        return min(self.seconds, self._first_end(self.seconds, self.hop))

    def counts(self, seconds: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the number of windows of clips of these lengths (clips,). It is at least 1."""
        return self._counts(seconds, self.seconds, self.hop)

    def counts_in_samples(self, lengths: NDArray[np.int64], sample_rate: int) -> NDArray[np.int64]:
        """Return the number of windows of clips of these lengths (clips,) in samples, at `sample_rate` Hz."""
        return self._counts(lengths, *self.in_samples(sample_rate))

    def in_samples(self, sample_rate: int) -> tuple[int, int]:
        """Return the length of a window and the hop in samples, at `sample_rate` Hz."""
        return round(self.seconds * sample_rate), round(self.hop * sample_rate)

    def _counts(self, lengths: NDArray[Any], size: float, hop: float) -> NDArray[np.int64]:
        later = np.ceil((lengths - self._first_end(size, hop)) / hop)
        return 1 + np.maximum(0, later).astype(np.int64)

    def _first_end(self, size: float, hop: float) -> float:
        """Return the length up to which a clip gets one window."""
        if hop > size:
            return hop
        # The first window covers the clip up to the middle of its overlap with the second.
        end = (size + hop) / 2 + size * _NEGLIGIBLE
        return max(size, end) if self.is_gapless else end


def cut_in_windows(
    pieces: Iterable[NDArray[np.float32]], tiling: Tiling, sample_rate: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Cut a clip that comes in pieces into windows.

    Args:
        pieces: Samples of the clip, one piece after another. Shape (samples,).
        tiling: The windows.
        sample_rate: Rate of the pieces, in Hz.

    Yields:
        The first sample of each window, and its samples (samples,). The last window may be shorter.
    """
    size, hop = tiling.in_samples(sample_rate)
    received = start = 0  # samples of the clip so far; first sample of the next window
    waiting = np.zeros(0, np.float32)  # the last samples so far: those that a window may still need
    for piece in pieces:
        received += len(piece)
        waiting = np.concatenate([waiting, piece])
        while received >= start + size:
            first = len(waiting) - (received - start)
            yield start, waiting[first : first + size]
            start += hop
        waiting = waiting[max(0, len(waiting) - max(0, received - start)) :]
    count = int(tiling.counts_in_samples(np.array([received]), sample_rate)[0]) if received else 0
    while start < count * hop:
        yield start, waiting[max(0, len(waiting) - (received - start)) :]
        start += hop
