"""Changes to clips in training, drawn anew for each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch


class Mix(NamedTuple):
    """Which clips were mixed: a partner for each, and its own share, at least a half; both (clips,)."""

    partners: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Augmentation:
    """What is done to the sounds of a batch before the student hears them.

    Args:
        mixup: Strength of mixing pairs of clips: shares are drawn from Beta(mixup, mixup) (Zhang et al. 2018); 0 mixes
            none.
        gain: Largest change of level, in dB, up or down.
        roll: Begin a clip at any place, and go on with its beginning where it ends.
        noise: Largest level of white noise, relative to that of the clip; 0 adds none.

    Raises:
        ValueError: a number below 0.
    """

    mixup: float = 0.0
    gain: float = 0.0
    roll: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.gain, self.noise) < 0:
            raise ValueError(f"augmentation: mixup {self.mixup}, gain {self.gain} and noise {self.noise}: not below 0")

    def __call__(self, batch: AudioBatch) -> tuple[AudioBatch, Mix | None]:
        """A batch as the student hears it, and which clips were mixed. Random numbers are those of torch."""
        waveform, clips = batch.waveform, len(batch)
        device = waveform.device
        if self.roll:
            waveform = _rolled(waveform, batch.lengths)
        if self.gain:
            decibels = (2 * torch.rand(clips, 1) - 1) * self.gain
            waveform = waveform * (10 ** (decibels / 20)).to(device)
        if self.noise:
            inside = frame_mask(batch.lengths, waveform.shape[1])
            level = (waveform.square().sum(1) / batch.lengths.clamp(min=1)).sqrt() * (
                torch.rand(clips) * self.noise
            ).to(device)
            waveform = waveform + torch.randn(waveform.shape).to(device) * level.unsqueeze(1) * inside
        batch = batch.with_waveform(waveform)
        if not self.mixup:
            return batch, None
        mix = draw_mixup(clips, self.mixup, device)
        return batch.mix(*mix), mix


def draw_mixup(clips: int, strength: float, device: torch.device) -> Mix:
    """Partners and shares of a batch."""
    shares = torch.distributions.Beta(strength, strength).sample((clips,))
    return Mix(torch.randperm(clips).to(device), torch.maximum(shares, 1 - shares).to(device))


def _rolled(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Each clip from another place on, within its own length."""
    starts = (torch.rand(len(lengths)).to(lengths.device) * lengths).long().unsqueeze(1)
    place = torch.arange(waveform.shape[1], device=waveform.device).unsqueeze(0)
    ends = lengths.unsqueeze(1)
    return waveform.gather(1, torch.where(place < ends, (place + starts) % ends.clamp(min=1), place))
