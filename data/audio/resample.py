"""The only resampler of the project, so that a clip has the same samples in training and in the embedding store.

The filter is that of `distill.data.audio.sinc`, which resamples without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import overlapping
from distill.data.audio.memory import may_reuse_memory
from distill.data.audio.precision import Float32Module
from distill.data.audio.read import FULL_SCALE, Samples
from distill.data.audio.sinc import GROUP, Waveform, resampled_blocks, resampled_length, sinc_filter

RESAMPLER = "torchaudio sinc_interp_hann width 6 rolloff 0.99"  # part of every fingerprint


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

    def resample_part(part: Waveform, source: int, target: int) -> Waveform:
        return resample(torch.from_numpy(part), source, target).numpy()

    yield from map(torch.from_numpy, resampled_blocks(blocks, source, target, resample_part))


class Resampler(Float32Module):
    """Resampling by a Hann-windowed sinc.

    The output is computed in blocks of whole periods of both rates. A block depends on a window of the input.

    Args:
        source: Sample rate of the input, in Hz.
        target: Sample rate of the output, in Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.sinc = sinc_filter(source, target)
        for number, taps in enumerate(self.sinc.taps):
            self.register_buffer(f"group{number}", torch.tensor(taps), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Resample (..., samples) to (..., samples at the target rate)."""
        length = resampled_length(waveform.shape[-1], self.sinc.source, self.sinc.target)
        if not may_reuse_memory(waveform):
            windows = self._windows(F.pad(waveform, self.sinc.padding(waveform.shape[-1], length)), length)
            parts = [windows[..., inputs] @ taps for inputs, _, taps in self._groups()]
            return torch.cat(parts, -1).flatten(-2)[..., :length]
        result = waveform.new_empty(*waveform.shape[:-1], length)
        for clip, out in zip(waveform.reshape(-1, waveform.shape[-1]), result.view(-1, length), strict=True):
            self.write(clip, out)
        return result

    def write(self, clip: Tensor, out: Tensor) -> Tensor:
        """Resample one clip (samples,) to `out` (samples at the target rate,), without an intermediate copy."""
        before, after = self.sinc.padding(len(clip), len(out))
        padded = out.new_empty(before + len(clip) + after)
        padded[:before] = 0
        _copy_scaled(clip, padded[before : before + len(clip)])
        padded[before + len(clip) :] = 0
        windows = self._windows(padded, len(out))
        whole, rest = divmod(len(out), self.sinc.block)
        blocks = out[: len(out) - rest].view(whole, self.sinc.block)
        for inputs, outputs, taps in self._groups():
            torch.mm(windows[:whole, inputs], taps, out=blocks[:, outputs])
        if rest:
            last = [windows[whole, inputs] @ taps for inputs, _, taps in self._groups()]
            out[len(out) - rest :] = torch.cat(last)[:rest]
        return out

    def _windows(self, padded: Tensor, length: int) -> Tensor:
        """Return the window of input samples of each block of the output. Shape (..., blocks, window)."""
        blocks, sinc = self.sinc.blocks(length), self.sinc
        if torch.compiler.is_exporting():
            return overlapping(padded, sinc.window, sinc.step, blocks)
        return padded.unfold(-1, sinc.window, sinc.step)[..., :blocks, :]

    def _groups(self) -> list[tuple[slice, slice, Tensor]]:
        """Return the inputs of each group within a window, its outputs within a block, and its taps."""
        return [
            (inputs, slice(number * GROUP, (number + 1) * GROUP), getattr(self, f"group{number}"))
            for number, inputs in enumerate(self.sinc.spans)
        ]


def _copy_scaled(clip: Tensor, out: Tensor) -> Tensor:
    """Copy one clip (samples,) to `out` as float32 in [-1, 1]."""
    out.copy_(clip)
    return out if clip.is_floating_point() else out.mul_(float(FULL_SCALE))


@lru_cache(maxsize=64)
def _resampler(source: int, target: int, device: torch.device) -> Resampler:
    with torch.inference_mode(False):  # the cached filter also serves later calls with gradients
        return Resampler(source, target).to(device)
