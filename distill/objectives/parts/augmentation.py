"""Random changes to clips in training, new for each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch


class Mix(NamedTuple):
    """Parameters of mixup: each clip is mixed with a partner. They are on the CPU.

    Args:
        partners: Index of the partner of each clip. Shape (clips,), int64.
        shares: Weight of the clip itself, from 0.5 to 1; its partner has the rest. Shape (clips,).
    """

    partners: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation of the student's input.

    Args:
        mixup: Parameter of Beta(mixup, mixup), from which the shares of two mixed clips are drawn (Zhang et al. 2018).
            0 disables it. 1 draws them evenly. Each clip has the larger share in one mixture: with random partners, the
            mixtures are those of shares from 0 to 1 (lightly-train's, with mixup 1).
        gain: Maximum change of level in dB, up or down. 0 disables it.
        roll: Whether to rotate each clip in time by a random offset.
        noise: Maximum level of white noise, relative to the level of the clip. 0 disables it.

    Raises:
        ValueError: a number is below 0.
    """

    mixup: float = 0.0
    gain: float = 0.0
    roll: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.gain, self.noise) < 0:
            raise ValueError(
                f"augmentation: mixup {self.mixup}, gain {self.gain} and noise {self.noise} must be at least 0"
            )

    def __call__(self, batch: AudioBatch) -> tuple[AudioBatch, Mix | None]:
        """Return the augmented batch and how its clips were mixed; None without mixup. Torch's generator is used."""
        waveform, clips = batch.waveform, len(batch)
        device = waveform.device  # all draws are made on the CPU, so that every device gets the same numbers
        if self.roll:
            waveform = _rolled(waveform, batch.lengths)
        if self.gain:
            decibels = (2 * torch.rand(clips, 1) - 1) * self.gain
            waveform = waveform * (10 ** (decibels / 20)).to(device, non_blocking=True)
        if self.noise:
            valid = frame_mask(batch.lengths, waveform.shape[1])
            share = (torch.rand(clips) * self.noise).to(device, non_blocking=True)
            level = (waveform.square().sum(1) / batch.lengths.clamp(min=1)).sqrt() * share
            noise = torch.randn(waveform.shape).to(device, non_blocking=True)
            waveform = waveform + noise * level.unsqueeze(1) * valid
        batch = batch.with_waveform(waveform)
        if not self.mixup:
            return batch, None
        mix = draw_mixup(clips, self.mixup)
        return batch.mix(*mix), mix


def draw_mixup(clips: int, strength: float) -> Mix:
    """Draw partners and shares for a batch of clips."""
    shares = torch.distributions.Beta(strength, strength).sample((clips,))
    return Mix(torch.randperm(clips), torch.maximum(shares, 1 - shares))


def _rolled(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Return each clip rotated in time by a random offset, within its own length."""
    starts = (torch.rand(len(lengths)).to(lengths.device, non_blocking=True) * lengths).long().unsqueeze(1)
    position = torch.arange(waveform.shape[1], device=waveform.device).unsqueeze(0)
    ends = lengths.unsqueeze(1)
    return waveform.gather(1, torch.where(position < ends, (position + starts) % ends.clamp(min=1), position))
