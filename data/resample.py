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

RESAMPLER = "torchaudio sinc_interp_hann width 6 rolloff 0.99"  # part of every fingerprint
_WIDTH, _ROLLOFF = 6, 0.99  # zero crossings on each side, and the cut-off as a share of the lower Nyquist frequency
_TOGETHER = 64  # output samples of a matrix product, about


def resample(waveform: Tensor, source: int, target: int) -> Tensor:
    """Resample (..., samples) from `source` to `target` Hz; a clip of n samples gets `resampled_length(n)`."""
    if source == target:
        return waveform
    resampler: Resampler = _resampler(source, target, waveform.device)
    return resampler(waveform)


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
        samples = waveform.shape[-1]
        length = resampled_length(samples, self.source, self.target)
        blocks = -(-length // self.block)
        after = blocks * self.step + self.window - self.before - samples
        windows = F.pad(waveform, (self.before, after)).unfold(-1, self.window, self.step)[..., :blocks, :]
        groups = enumerate(self.heard)
        parts = [windows[..., heard] @ getattr(self, f"group{number}") for number, heard in groups]
        return torch.cat(parts, -1).flatten(-2)[..., :length]

    def _taps(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """What each input sample adds to each output sample, both counted from the begin of a block."""
        period, place = outputs // self.target, outputs % self.target
        phases = place / self.target  # in single precision, as torchaudio has them
        lower = _ROLLOFF * min(self.source, self.target)
        times = ((inputs.unsqueeze(1) - period * self.source).double() / self.source - phases) * lower
        window = (times.clamp(-_WIDTH, _WIDTH) * (math.pi / _WIDTH / 2)).cos().square()
        return (torch.sinc(times) * window * (lower / self.source)).float()


@lru_cache(maxsize=64)
def _resampler(source: int, target: int, device: torch.device) -> Resampler:
    return Resampler(source, target).to(device)
