"""What every encoder inherits: windows, modes, sizes and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Registry
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError


class Steps(Encoder):
    """An encoder of the mean of each quarter of a second, with two weights."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.modes: list[bool] = []
        self.longest = 0

    def encode(self, batch: AudioBatch) -> Embeddings:
        self.modes.append(self.training)
        self.longest = max(self.longest, batch.waveform.shape[1])
        steps = batch.waveform.unfold(1, 2_000, 2_000).mean(2).unsqueeze(2) * self.scale
        times = 0.125 + 0.25 * torch.arange(steps.shape[1])
        return Embeddings.of_frames(steps, times, torch.ones(steps.shape[:2], dtype=torch.bool))


def test_embed_encodes_in_evaluation_mode_without_gradients_and_returns_to_training() -> None:
    encoder = Steps().train()
    embeddings = encoder.embed(np.full(8_000, 0.5, np.float32), 8_000)  # type: ignore[arg-type]
    assert encoder.modes == [False]
    assert encoder.training
    assert not embeddings.clip.requires_grad
    torch.testing.assert_close(embeddings.clip, torch.tensor([[0.5, 1.0]]))


def test_audio_of_another_rate_is_resampled() -> None:
    assert Steps().embed(torch.zeros(16_000), 16_000).frames.shape == (1, 4, 2)


def test_sizes_are_those_of_an_embedding() -> None:
    encoder = Steps()
    assert (encoder.clip_dim, encoder.frame_dim, encoder.frame_hop) == (2, 2, 0.25)
    assert (encoder.parameter_count(), encoder.device) == (2, torch.device("cpu"))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(0), "no samples"),
        (torch.tensor([0.0, math.nan]), "NaN or infinite"),
        (torch.zeros(1, 1, 10), r"must be \(samples,\)"),
        (torch.zeros(10, dtype=torch.int16), "int"),
    ],
)
def test_an_impossible_waveform_is_refused(waveform: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Steps().embed(waveform, 8_000)


def test_windows_cut_long_clips_and_stand_in_the_spec() -> None:
    registry: Registry[Steps] = Registry("encoder", {})
    registry.register("steps")(Steps)
    encoder = registry.create("steps")
    encoder.cut_in(Windows(seconds=1.0))
    assert encoder.embed(torch.zeros(24_000), 8_000).frames.shape == (1, 12, 2)
    assert encoder.longest == 8_000
    assert encoder.spec is not None
    assert encoder.spec.options["windows"] == Windows(seconds=1.0)


class Mixed(Steps):
    """An encoder of a user, which multiplies the waveform with its weights."""

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(batch.waveform[:, :2] @ torch.diag(self.scale))


def test_an_encoder_that_cannot_compute_in_a_dtype_gets_one_line() -> None:
    encoder = Mixed()
    assert encoder.dtype == torch.float32
    assert encoder.embed(torch.ones(8_000), 8_000).clip.tolist() == [[1.0, 2.0]]
    with pytest.raises(UserError, match=r"^Mixed does not support torch.float16 \(.*--arithmetic.precision bfloat16"):
        encoder.half().embed(torch.ones(8_000), 8_000)
    assert encoder.float().embed(torch.ones(8_000), 8_000).clip.tolist() == [[1.0, 2.0]]


def test_other_errors_of_a_moved_encoder_are_not_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Steps, batch: AudioBatch) -> Embeddings:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Steps, "encode", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        Steps().half().embed(torch.ones(8_000), 8_000)


def test_the_dtype_of_an_encoder_without_weights_is_that_of_its_last_move() -> None:
    class Weightless(Encoder):
        sample_rate = 8_000

        def encode(self, batch: AudioBatch) -> Embeddings:
            return Embeddings.of_clip(batch.waveform[:, :2].to(self.dtype))

    encoder = Weightless().half()
    assert encoder.embed(torch.ones(8_000), 8_000).clip.dtype == torch.float16
    assert Weightless().dtype == torch.float32
