"""The filter of the resampler, and resampling in NumPy: where a student runs without PyTorch.

The filter is that of `torchaudio.transforms.Resample` with its defaults. Torchaudio computes every output sample with
the taps of a whole period of both rates (459 from 44.1 to 32 kHz). Here, a group of neighbouring output samples is one
matrix product with the few input samples that it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from distill.data.audio.read import FULL_SCALE, Samples

GROUP = 32  # output samples of a matrix product
_WIDTH = 6  # zero crossings on each side
_ROLLOFF = 0.99  # cut-off as a share of the lower Nyquist frequency

Waveform = NDArray[np.float32]
Resample = Callable[[Waveform, int, int], Waveform]
"""Resamples a clip (samples,) from one rate to another, both in Hz."""


class SincFilter:
    """A Hann-windowed sinc. The output is computed in blocks of whole periods of both rates.

    A block depends on a window of the input. Its output samples are divided into groups.

    Args:
        source: Sample rate of the input, in Hz.
        target: Sample rate of the output, in Hz.

    Attributes:
        source: Sample rate of the input, divided by the common divisor of both rates. `target` likewise.
        step: Input samples from one block to the next.
        block: Output samples of a block.
        before: Input samples of a window that precede the block.
        window: Input samples of a window.
        spans: Input samples of each group, within the window.
        taps: Weight of each input sample in each output sample of each group, float32.
    """

    def __init__(self, source: int, target: int) -> None:
        divisor = math.gcd(source, target)
        self.source, self.target = source // divisor, target // divisor
        periods = max(1, 2 * GROUP // self.target)  # of a block
        self.step, self.block = periods * self.source, periods * self.target
        self.before = math.ceil(_WIDTH * self.source / (_ROLLOFF * min(self.source, self.target)))
        self.spans: list[slice] = []
        self.taps: list[Waveform] = []
        for first in range(0, self.block, GROUP):
            outputs = np.arange(first, min(first + GROUP, self.block))
            begin, end = (int(output) * self.source // self.target for output in (outputs[0], outputs[-1]))
            self.spans.append(slice(begin, end + 2 * self.before + 1))
            self.taps.append(self._taps(np.arange(begin - self.before, end + self.before + 1), outputs))
        self.window = self.spans[-1].stop

    def blocks(self, length: int) -> int:
        """Return the blocks of `length` output samples."""
        return (length + self.block - 1) // self.block

    def padding(self, samples: int, length: int) -> tuple[int, int]:
        """Return the zeros before and after `samples` input samples that the blocks of `length` outputs need."""
        return self.before, self.blocks(length) * self.step + self.window - self.before - samples

    def _taps(self, inputs: NDArray[np.int64], outputs: NDArray[np.int64]) -> Waveform:
        """Return the weight of each input sample in each output sample. Both count from the start of a block."""
        period, phase = outputs // self.target, outputs % self.target
        phases = phase.astype(np.float32) / np.float32(self.target)  # in single precision, as in torchaudio
        lower = _ROLLOFF * min(self.source, self.target)
        times = ((inputs[:, None] - period * self.source) / self.source - phases) * lower
        window = np.square(np.cos(times.clip(-_WIDTH, _WIDTH) * (math.pi / _WIDTH / 2)))
        return cast(Waveform, (np.sinc(times) * window * (lower / self.source)).astype(np.float32))


def resample_samples(waveform: Waveform, source: int, target: int) -> Waveform:
    """Resample one clip (samples,) to `target` Hz, as `resample` does, without PyTorch.

    Args:
        waveform: Samples. Shape (samples,).
        source: Rate of the waveform, in Hz.
        target: Rate of the result, in Hz.
    """
    if source == target:
        return waveform
    sinc, length = sinc_filter(source, target), resampled_length(len(waveform), source, target)
    padded = np.pad(waveform, sinc.padding(len(waveform), length))
    windows = sliding_window_view(padded, sinc.window)[:: sinc.step][: sinc.blocks(length)]
    parts = [windows[:, inputs] @ taps for inputs, taps in zip(sinc.spans, sinc.taps, strict=True)]
    return np.concatenate(parts, 1).reshape(-1)[:length]


def resampled_blocks(
    blocks: Iterable[Samples], source: int, target: int, resample: Resample = resample_samples
) -> Iterator[Waveform]:
    """Resample a clip that comes in blocks. The results together are those of `resample` for the whole clip.

    The memory depends on the length of a block and not on the length of the clip.

    Args:
        blocks: Samples of the clip, one block after another, int16 or float32. Shape (samples,).
        source: Rate of the blocks, in Hz.
        target: Rate of the results, in Hz.
        resample: Resamples a clip.

    Yields:
        float32 in [-1, 1]. Shape (samples at the target rate,).
    """
    if source == target:
        yield from map(scaled, blocks)
        return
    # A whole second is a whole number of samples at both rates, so every block has the phases of the whole clip.
    reach = math.ceil(_WIDTH / (_ROLLOFF * min(source, target)))  # whole seconds of input around an output: 1
    waiting, done = np.zeros(0, np.float32), 0  # input, of which the first `done` seconds have their outputs already
    for block in blocks:
        waiting = np.concatenate([waiting, scaled(block)])
        complete = len(waiting) // source - reach  # seconds whose outputs later input cannot change
        if complete > max(done, reach):
            resampled = resample(waiting[: (complete + reach) * source], source, target)
            yield resampled[done * target : complete * target]
            waiting, done = waiting[(complete - reach) * source :], reach
    if len(waiting) > done * source:
        yield resample(waiting, source, target)[done * target :]


def resampled_length(samples: int, source: int, target: int) -> int:
    """Return the number of samples after resampling: ceil(samples * target / source)."""
    return (samples * target + source - 1) // source  # not -(-n // m): an exported graph rounds towards 0


def scaled(samples: Samples) -> Waveform:
    """Return samples (samples,) as float32 in [-1, 1]."""
    return samples.astype(np.float32) * FULL_SCALE if samples.dtype == np.int16 else cast(Waveform, samples)


@lru_cache(maxsize=64)
def sinc_filter(source: int, target: int) -> SincFilter:
    """Return the filter between two rates, in Hz."""
    return SincFilter(source, target)
