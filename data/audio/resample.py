"""The only resampler of the project, so that a clip has the same samples in training and in the embedding store.

The filter is that of `torchaudio.transforms.Resample` with its defaults. Torchaudio computes every output sample with
the taps of a whole period of both rates (459 from 44.1 to 32 kHz). Here, a group of neighbouring output samples is one
matrix product with the few input samples that it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import overlapping
from distill.data.audio.memory import may_reuse_memory
from distill.data.audio.precision import Float32Module
from distill.data.audio.read import FULL_SCALE, Samples

RESAMPLER = "torchaudio sinc_interp_hann width 6 rolloff 0.99"  # part of every fingerprint
_WIDTH = 6  # zero crossings on each side
_ROLLOFF = 0.99  # cut-off as a share of the lower Nyquist frequency
_GROUP = 32  # output samples of a matrix product


def resample(waveform: Tensor, source: int, target: int, out: Tensor | None = None) -> Tensor:
    """Resample waveforms to `target` Hz. A clip of n samples becomes `resampled_length(n, source, target)` samples.

    Args:
        waveform: Samples. Shape (..., samples).
        source: Rate of the waveform, in Hz.
        target: Rate of the result, in Hz.
        out: Memory for the result of one clip on a CPU, (samples,). None allocates it. With `out`, the clip may be
            int16, which is scaled to [-1, 1].

    Returns:
        Shape (..., samples at the target rate).
    """
    if source == target:
        return waveform if out is None else _copy_scaled(waveform, out)
    resampler: Resampler = _resampler(source, target, waveform.device)
    return resampler(waveform) if out is None else resampler.write(waveform, out)


def resample_blocks(blocks: Iterable[Samples], source: int, target: int) -> Iterator[Tensor]:
    """Resample a clip that comes in blocks. The results together are those of `resample` for the whole clip.

    The memory depends on the length of a block and not on the length of the clip.

    Args:
        blocks: Samples of the clip, one block after another, int16 or float32. Shape (samples,).
        source: Rate of the blocks, in Hz.
        target: Rate of the results, in Hz.

    Yields:
        float32 in [-1, 1]. Shape (samples at the target rate,).
    """
    if source == target:
        yield from map(_scaled, blocks)
        return
    # A whole second is a whole number of samples at both rates, so every block has the phases of the whole clip.
    reach = math.ceil(_WIDTH / (_ROLLOFF * min(source, target)))  # whole seconds of input around an output: 1
    waiting, done = torch.zeros(0), 0  # input, of which the first `done` seconds have their outputs already
    for block in blocks:
        waiting = torch.cat([waiting, _scaled(block)])
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


class Resampler(Float32Module):
    """Resampling by a Hann-windowed sinc.

    The output is computed in blocks of whole periods of both rates. A block depends on a window of the input.

    Args:
        source: Sample rate of the input, in Hz.
        target: Sample rate of the output, in Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        divisor = math.gcd(source, target)
        self.source, self.target = source // divisor, target // divisor
        periods = max(1, 2 * _GROUP // self.target)  # periods of a block
        self.step, self.block = periods * self.source, periods * self.target  # input and output samples of a block
        self.before = math.ceil(_WIDTH * self.source / (_ROLLOFF * min(self.source, self.target)))
        self.input_spans: list[slice] = []  # input samples of each group of outputs, within the window of a block
        for number, outputs in enumerate(torch.arange(self.block).split(_GROUP)):
            begin, end = (int(output) * self.source // self.target for output in (outputs[0], outputs[-1]))
            self.input_spans.append(slice(begin, end + 2 * self.before + 1))
            inputs = torch.arange(begin - self.before, end + self.before + 1)
            self.register_buffer(f"group{number}", self._taps(inputs, outputs), persistent=False)
        self.window = self.input_spans[-1].stop

    def forward(self, waveform: Tensor) -> Tensor:
        """Resample (..., samples) to (..., samples at the target rate)."""
        length = resampled_length(waveform.shape[-1], self.source, self.target)
        if not may_reuse_memory(waveform):
            windows = self._windows(F.pad(waveform, self._padding(waveform, length)), length)
            parts = [windows[..., inputs] @ taps for inputs, _, taps in self._groups()]
            return torch.cat(parts, -1).flatten(-2)[..., :length]
        result = waveform.new_empty(*waveform.shape[:-1], length)
        for clip, out in zip(waveform.reshape(-1, waveform.shape[-1]), result.view(-1, length), strict=True):
            self.write(clip, out)
        return result

    def write(self, clip: Tensor, out: Tensor) -> Tensor:
        """Resample one clip (samples,) to `out` (samples at the target rate,), without an intermediate copy."""
        before, after = self._padding(clip, len(out))
        padded = out.new_empty(before + len(clip) + after)
        padded[:before] = 0
        _copy_scaled(clip, padded[before : before + len(clip)])
        padded[before + len(clip) :] = 0
        windows = self._windows(padded, len(out))
        whole, rest = divmod(len(out), self.block)
        blocks = out[: len(out) - rest].view(whole, self.block)
        for inputs, outputs, taps in self._groups():
            torch.mm(windows[:whole, inputs], taps, out=blocks[:, outputs])
        if rest:
            last = [windows[whole, inputs] @ taps for inputs, _, taps in self._groups()]
            out[len(out) - rest :] = torch.cat(last)[:rest]
        return out

    def _padding(self, waveform: Tensor, length: int) -> tuple[int, int]:
        """Return the zeros before and after (..., samples) that the blocks of `length` output samples need."""
        after = self._blocks(length) * self.step + self.window - self.before - waveform.shape[-1]
        return self.before, after

    def _windows(self, padded: Tensor, length: int) -> Tensor:
        """Return the window of input samples of each block of the output. Shape (..., blocks, window)."""
        blocks = self._blocks(length)
        if torch.compiler.is_exporting():
            return overlapping(padded, self.window, self.step, blocks)
        return padded.unfold(-1, self.window, self.step)[..., :blocks, :]

    def _blocks(self, length: int) -> int:
        """Return the blocks of `length` output samples."""
        return (length + self.block - 1) // self.block

    def _groups(self) -> list[tuple[slice, slice, Tensor]]:
        """Return the inputs of each group within a window, its outputs within a block, and its taps."""
        return [
            (inputs, slice(number * _GROUP, (number + 1) * _GROUP), getattr(self, f"group{number}"))
            for number, inputs in enumerate(self.input_spans)
        ]

    def _taps(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return the weight of each input sample in each output sample. Both count from the start of a block."""
        period, phase = outputs // self.target, outputs % self.target
        phases = phase / self.target  # in single precision, as in torchaudio
        lower = _ROLLOFF * min(self.source, self.target)
        times = ((inputs.unsqueeze(1) - period * self.source).double() / self.source - phases) * lower
        window = (times.clamp(-_WIDTH, _WIDTH) * (math.pi / _WIDTH / 2)).cos().square()
        return (torch.sinc(times) * window * (lower / self.source)).float()


def _scaled(samples: Samples) -> Tensor:
    """Return samples (samples,) as float32 in [-1, 1]."""
    waveform = torch.from_numpy(samples)
    return waveform if waveform.is_floating_point() else _copy_scaled(waveform, torch.empty(len(waveform)))


def _copy_scaled(clip: Tensor, out: Tensor) -> Tensor:
    """Copy one clip (samples,) to `out` as float32 in [-1, 1]."""
    out.copy_(clip)
    return out if clip.is_floating_point() else out.mul_(float(FULL_SCALE))


@lru_cache(maxsize=64)
def _resampler(source: int, target: int, device: torch.device) -> Resampler:
    with torch.inference_mode(False):  # the cached filter also serves later calls with gradients
        return Resampler(source, target).to(device)
