"""The contract of encoders: each violation gives one line, and parts of this package give none."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distill
from distill.data.encoders.contract import check_contract
from tests.own_parts import Loudness, TinyConvolution

MASK = r"leave out what lies after batch\.lengths \(distill\.frame_mask\), or use distill\.by_length$"


class Frames(distill.Teacher):
    """Level of 10 ms each, right in every respect; the subclasses break it."""

    sample_rate = 8_000

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        frames = self.levels(batch.waveform)
        mask = distill.frame_mask((batch.lengths // 80).clamp(min=1), frames.shape[1])
        return self.embeddings(frames, 0.005 + 0.010 * torch.arange(frames.shape[1]), mask)

    def levels(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform, (0, -waveform.shape[1] % 80))
        return torch.stack([padded.unfold(1, 80, 80).abs().mean(2), padded.unfold(1, 80, 80).square().mean(2)], dim=2)

    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times, mask)


class UnmaskedMean(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times, mask, clip=frames.mean(1))


class NoMask(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times, torch.ones_like(mask))


class Level(Frames):
    """Each clip is divided by the loudest sample of the batch."""

    def levels(self, waveform: Tensor) -> Tensor:
        return super().levels(waveform / waveform.max())


class TimesInSamples(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times * self.sample_rate, mask)


class TimesThatStand(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times * 0, mask)


class NotFinite(Frames):
    def levels(self, waveform: Tensor) -> Tensor:
        return (super().levels(waveform) * 0).log().mul(0)


class NoFrame(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times, mask & False)


class OneClip(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames[0], times, mask[0], clip=frames[0])


class Numbers(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return distill.Embeddings.of_frames(frames, times, mask.float())


class OnlyATensor(Frames):
    def embeddings(self, frames: Tensor, times: Tensor, mask: Tensor) -> distill.Embeddings:
        return frames.mean(1)  # type: ignore[return-value]


class InPlace(Frames):
    def levels(self, waveform: Tensor) -> Tensor:
        return super().levels(waveform.mul_(2))


class SizeOfTheClip(Frames):
    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(batch.waveform[:, ::100])


class TooShort(Frames):
    def levels(self, waveform: Tensor) -> Tensor:
        return super().levels(waveform[:, 4_000:].contiguous()[:, : waveform.shape[1] - 4_000 or None])


class Hidden(Frames):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 2)]
        self.parts = {"first": nn.Linear(2, 2)}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (UnmaskedMean, rf"^a clip of 0\.4 s, in a padded batch and alone: clip differs by 0\.\d+ .*; {MASK}"),
        (NoMask, rf"^a clip of 0\.4 s, in a padded batch and alone: 100 and 40 valid frames; {MASK}"),
        (Level, rf"^a clip of 0\.4 s, in a padded batch and alone: clip differs by .*; {MASK}"),
        (TimesInSamples, r"^a clip of 1 s: its frames lie between 40 and 7960; frame_times must be .* in seconds$"),
        (TimesThatStand, r"^a padded batch of 1 s and 0\.4 s: frame_times must increase$"),
        (NotFinite, r"^a padded batch of 1 s and 0\.4 s: clip has numbers that are NaN or infinite$"),
        (NoFrame, r"^a padded batch of 1 s and 0\.4 s: frame_mask leaves a clip without a frame"),
        (OneClip, r"^a padded batch .*: frames has shape \(100, 2\), not \(2, 100, any\)$"),
        (Numbers, r"^a padded batch .*: frame_mask has dtype torch\.float32, not torch\.bool$"),
        (OnlyATensor, r"^a padded batch .*: encode must return distill\.Embeddings, not Tensor$"),
        (InPlace, r"^encode changes batch\.waveform, which must stay as it is$"),
        (SizeOfTheClip, r"^a clip of 0\.4 s, in a padded batch and alone: the size of clip depends on the batch$"),
        (TooShort, r"^a clip of 0\.4 s: RuntimeError: "),
        (Hidden, r"^layers: a list with networks, which PyTorch neither finds nor moves; use torch\.nn\.ModuleList"),
    ],
)
def test_each_violation_is_one_line(broken: type[Frames], expected: str) -> None:
    lines = check_contract(broken())
    assert any(re.search(expected, line) for line in lines), lines


def test_parts_that_fulfil_it_give_no_line() -> None:
    for part in (Frames(), Loudness(), TinyConvolution(), distill.create_teacher("mel")):
        assert check_contract(part) == []


def test_the_weights_the_mode_and_the_random_numbers_stay() -> None:
    student = TinyConvolution().train()
    before, random = [p.clone() for p in student.parameters()], torch.get_rng_state()
    check_contract(student)
    assert student.training
    assert all(old.equal(new) for old, new in zip(before, student.parameters(), strict=True))
    assert torch.get_rng_state().equal(random)
