"""The teacher of signal processing only."""

from __future__ import annotations

import torch

import distill
from distill.data.batch import AudioBatch
from tests.teachers.tiny import TinyTeacher


def test_spectral_gives_a_padded_clip_of_any_length_what_it_gives_alone() -> None:
    teacher, lengths = distill.create_teacher("spectral"), torch.tensor([12 * 16_000, 3 * 16_000])
    waveform = torch.randn(2, 12 * 16_000) * 0.1
    waveform[1, lengths[1] :] = 0
    together = teacher(AudioBatch.of(waveform, 16_000, lengths))
    alone = teacher(AudioBatch.of(waveform[1, : lengths[1]], 16_000))
    torch.testing.assert_close(together.clip[1], alone.clip[0], atol=1e-5, rtol=0)


def test_spectral_does_not_change_with_the_level() -> None:
    teacher, waveform = distill.create_teacher("spectral"), torch.randn(16_000)
    loud, soft = teacher.embed(waveform * 0.5, 16_000).clip, teacher.embed(waveform * 0.05, 16_000).clip
    assert torch.cosine_similarity(loud, soft).item() > 0.999


TINY = TinyTeacher(lambda folder: {}, span=0.115, blur=0.002, level_free=True)
