"""The one resampler of the project: a cached clip and a live one must be the same samples.

The filter is that of `torchaudio.transforms.Resample` with its defaults. There, every output sample costs the taps of
a whole period of both rates (459 from 44.1 to 32 kHz), or is one of a convolution with a single channel; here,
neighbouring output samples are one matrix product with the few input samples that they hear.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.memory import may_reuse_memory
from distill.data.audio.read import FULL_SCALE

RESAMPLER = "torchaudio sinc_interp_hann width 6 rolloff 0.99"  # part of every fingerprint
_WIDTH, _ROLLOFF = 6, 0.99  # zero crossings on each side, and the cut-off as a share of the lower Nyquist frequency
_TOGETHER = 32  # output samples of a matrix product, about


def resample(waveform: Tensor, source: int, target: int, into: Tensor | None = None) -> Tensor:
    """Resample (..., samples) from `source` to `target` Hz; a clip of n samples gets `resampled_length(n)`.

    Args:
        waveform: Samples.
        source: Their rate, in Hz.
        target: The rate that is wanted, in Hz.
        into: Where the result of one clip on a CPU goes (samples,); new memory unless given. The clip may then be of
            int16 too, which is scaled to [-1, 1].
    """
    if source == target:
        return waveform if into is None else _copy(waveform, into)
    resampler: Resampler = _resampler(source, target, waveform.device)
    return resampler(waveform) if into is None else resampler.write(waveform, into)


def resampled_length(samples: int, source: int, target: int) -> int:
    """Samples after resampling: ceil(samples * target / source)."""
    return -(-samples * target // source)


class Resampler(nn.Module):
    """Resampling by a Hann-windowed sinc.

    Args:
        source: Sample rate of what comes, in Hz.
        target: Sample rate of what is wanted, in Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        divisor = math.gcd(source, target)
        self.source, self.target = source // divisor, target // divisor
        periods = max(1, 2 * _TOGETHER // self.target)  # that are computed as one block
        self.step, self.block = periods * self.source, periods * self.target
        self.before = math.ceil(_WIDTH * self.source / (_ROLLOFF * min(self.source, self.target)))
        self.heard: list[slice] = []  # by each group of output samples, of the window of a block
        for number, outputs in enumerate(torch.arange(self.block).split(_TOGETHER)):
            begin, end = (int(output) * self.source // self.target for output in (outputs[0], outputs[-1]))
            self.heard.append(slice(begin, end + 2 * self.before + 1))
            inputs = torch.arange(begin - self.before, end + self.before + 1)
            self.register_buffer(f"group{number}", self._taps(inputs, outputs), persistent=False)
        self.window = self.heard[-1].stop

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., samples) -> (..., samples at the target rate)."""
        length = resampled_length(waveform.shape[-1], self.source, self.target)
        if not may_reuse_memory(waveform):
            windows = self._windows(F.pad(waveform, self._padding(waveform, length)), length)
            parts = [windows[..., heard] @ taps for heard, _, taps in self._groups()]
            return torch.cat(parts, -1).flatten(-2)[..., :length]
        result = waveform.new_empty(*waveform.shape[:-1], length)
        for clip, into in zip(waveform.reshape(-1, waveform.shape[-1]), result.view(-1, length), strict=True):
            self.write(clip, into)
        return result

    def write(self, clip: Tensor, into: Tensor) -> Tensor:
        """Resample one clip (samples,) where it is wanted (samples at the target rate,), without a copy on the way."""
        before, after = self._padding(clip, len(into))
        padded = into.new_empty(before + len(clip) + after)
        padded[:before] = 0
        _copy(clip, padded[before : before + len(clip)])
        padded[before + len(clip) :] = 0
        windows = self._windows(padded, len(into))
        whole, rest = divmod(len(into), self.block)
        blocks = into[: len(into) - rest].view(whole, self.block)
        for heard, outputs, taps in self._groups():
            torch.mm(windows[:whole, heard], taps, out=blocks[:, outputs])
        if rest:  # of a block that stands out over the end
            last = [windows[whole, heard] @ taps for heard, _, taps in self._groups()]
            into[len(into) - rest :] = torch.cat(last)[:rest]
        return into

    def _padding(self, waveform: Tensor, length: int) -> tuple[int, int]:
        """Zeros before and after (..., samples) that the blocks of so many output samples hear."""
        after = -(-length // self.block) * self.step + self.window - self.before - waveform.shape[-1]
        return self.before, after

    def _windows(self, padded: Tensor, length: int) -> Tensor:
        """The input samples that each block of the output hears. Shape (..., blocks, window)."""
        return padded.unfold(-1, self.window, self.step)[..., : -(-length // self.block), :]

    def _groups(self) -> list[tuple[slice, slice, Tensor]]:
        """What each group of outputs hears of a window, its place in a block, and its taps."""
        return [
            (heard, slice(number * _TOGETHER, (number + 1) * _TOGETHER), getattr(self, f"group{number}"))
            for number, heard in enumerate(self.heard)
        ]

    def _taps(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """What each input sample adds to each output sample, both counted from the begin of a block."""
        period, place = outputs // self.target, outputs % self.target
        phases = place / self.target  # in single precision, as torchaudio has them
        lower = _ROLLOFF * min(self.source, self.target)
        times = ((inputs.unsqueeze(1) - period * self.source).double() / self.source - phases) * lower
        window = (times.clamp(-_WIDTH, _WIDTH) * (math.pi / _WIDTH / 2)).cos().square()
        return (torch.sinc(times) * window * (lower / self.source)).float()


def _copy(clip: Tensor, into: Tensor) -> Tensor:
    """Samples of one clip (samples,) as float32 in [-1, 1]."""
    into.copy_(clip)
    return into if clip.is_floating_point() else into.mul_(float(FULL_SCALE))


@lru_cache(maxsize=64)
def _resampler(source: int, target: int, device: torch.device) -> Resampler:
    with torch.inference_mode(False):  # whoever is first to ask; the next may want gradients
        return Resampler(source, target).to(device)
