"""The contract of every student: what must hold for each registered name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.data.batch import AudioBatch
from distill.students.student import Student
from tests.encoder_dtypes import DTYPES, check_dtype
from tests.students.tiny import STUDENT_NAMES, tiny_student


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_the_readme_has_a_row_for_every_student(name: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"\n| `{name}`" in readme, f"add the student {name!r} to the table of students in README.md"


def test_a_student_without_tiny_options_fails_with_its_name() -> None:
    with pytest.raises(pytest.fail.Exception, match="no tiny options of the student 'unknown'"):
        tiny_student("unknown")


@pytest.fixture(params=STUDENT_NAMES)
def student(request: pytest.FixtureRequest) -> Student:
    student = tiny_student(request.param).train()
    for _ in range(3):  # so that the running statistics differ from the initial ones
        student(AudioBatch.of(torch.randn(4, 32_000), student.sample_rate))
    return student.eval()


def test_a_clip_in_a_padded_batch_has_the_embedding_of_the_clip_alone(student: Student) -> None:
    rate = student.sample_rate
    waveform = torch.randn(4, 2 * rate) * 0.1
    lengths = torch.tensor([2 * rate, rate + 77, rate // 3, 500])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    together = student.embed(waveform, rate, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = student.embed(waveform[row, :length], rate)
        # A relative error, since the embeddings of an untrained student can be smaller than usual tolerances.
        assert (together.clip[row] - alone.clip[0]).norm() < 1e-5 * alone.clip[0].norm()
        assert int(together.frame_mask[row].sum()) == alone.frames.shape[1]


def test_gradients_of_a_padded_batch_are_those_of_the_clips_alone(student: Student) -> None:
    rate = student.sample_rate
    lengths = [rate, rate * 5 // 6, rate // 2, rate // 9]
    waveform = torch.randn(4, rate) * 0.1
    student(AudioBatch.of(waveform, rate, torch.tensor(lengths))).clip.square().sum().backward()
    together = {name: weight.grad for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad()
    for clip, length in zip(waveform, lengths, strict=True):
        student(AudioBatch.of(clip[:length], rate)).clip.square().sum().backward()
    scale = max(gradient.norm() for gradient in together.values())
    for name, weight in student.named_parameters():
        if name in together:
            assert weight.grad is not None
            assert (weight.grad - together[name]).norm() < 1e-5 * scale, name


def test_folded_normalisations_do_not_change_the_embeddings(student: Student) -> None:
    batch = AudioBatch.of(torch.randn(2, student.sample_rate) * 0.1, student.sample_rate)
    with_gradients = student(batch)
    with torch.no_grad():
        folded = student(batch)
    for own, other in ((with_gradients.clip, folded.clip), (with_gradients.frames, folded.frames)):
        assert (own - other).norm() < 1e-6 * own.norm()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_computes_in_the_dtype_that_it_is_moved_to(student: Student, dtype: torch.dtype) -> None:
    check_dtype(student, dtype)


def test_every_weight_has_a_gradient(student: Student) -> None:
    student.train()
    embeddings = student(AudioBatch.of(torch.randn(4, 32_000), student.sample_rate))
    (embeddings.clip.square().sum() + embeddings.logits.square().sum()).backward()
    for name, parameter in student.named_parameters():
        if not name.startswith("to_codes."):  # no part of the tokenizer's embedding
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_any_sample_rate_and_length_is_accepted(student: Student) -> None:
    for samples, rate in ((100, 8_000), (44_100, 44_100), (50_000, 16_000)):
        assert student.embed(torch.randn(samples), rate).clip.shape == (1, student.clip_dim)


def test_embed_keeps_the_mode_and_refuses_empty_audio(student: Student) -> None:
    student.train()
    student.embed(np.zeros(1000, dtype=np.float32), 16_000)
    assert student.training
    with pytest.raises(ValueError, match="no samples"):
        student.embed(torch.zeros(0), 16_000)
