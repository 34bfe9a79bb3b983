from __future__ import annotations

from pathlib import Path

import torch

from distill.adapters.xares import encoder_class, llm_encoder_class
from distill.students.saved import save_student
from distill.students.student import Student
from tests.students.tiny import tiny_student


def test_the_class_passes_the_checks_of_the_kit(folder: str, student: Student) -> None:
    """As xares/audio_encoder_checker.py does."""
    kind = encoder_class(folder)
    assert kind.__name__.endswith("Encoder")
    encoder = kind()
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    assert (encoder.sampling_rate, encoder.output_dim, encoder.hop_size_in_ms) == (32_000, student.frame_dim, 16.0)
    found = encoder(torch.randn(2, 50_000))
    assert found.dim() == 3
    assert found.shape[::2] == (2, student.frame_dim)


def test_other_weights_have_another_name_since_the_kit_stores_by_it(folder: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_student(tiny_student("bc_resnet"), tmp_path / "other", "")
    assert encoder_class(folder).__name__ == encoder_class(folder).__name__
    assert encoder_class(folder).__name__ != encoder_class(str(tmp_path / "other")).__name__


def test_the_llm_class_passes_the_checks_of_the_kit(folder: str, student: Student) -> None:
    """As xares_llm/audio_encoder_checker.py does."""
    kind = llm_encoder_class(folder)
    assert kind.__name__.endswith("Encoder")
    encoder = kind()
    frames, mask = encoder(torch.randn(3, 50_000), None)
    assert mask is None
    assert frames.shape[::2] == (3, encoder.output_dim) == (3, student.frame_dim)


def test_the_llm_class_gives_a_padded_clip_what_the_clip_alone_gets(folder: str) -> None:
    encoder, audio, samples = llm_encoder_class(folder)(), torch.randn(2, 40_000) * 0.1, torch.tensor([40_000, 25_000])
    given = (torch.arange(40_000) < samples.unsqueeze(1)).int()
    with torch.no_grad():
        frames, mask = encoder(audio * given, given)
        alone, none = encoder(audio[1, :25_000])
    assert none is None
    assert (mask.dtype, mask.shape) == (torch.int64, frames.shape[:2])
    assert mask.sum(1).tolist() == [frames.shape[1], alone.shape[1]]
    torch.testing.assert_close(frames[1, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)
