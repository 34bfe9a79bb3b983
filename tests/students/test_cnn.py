"""The plain CNN. No other code defines it, so its structure is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.students.cnn import CNN

TINY_OPTIONS: dict[str, dict[str, Any]] = {"cnn": {"width": 0.1}}


@pytest.mark.parametrize(("width", "parameters"), [(0.3, 34_140), (0.6, 135_672), (1.0, 375_880), (1.6, 960_832)])
def test_the_width_sets_the_number_of_parameters(width: float, parameters: int) -> None:
    assert distill.create_student("cnn", width=width).parameter_count() == parameters


def test_a_frame_has_four_rows_and_a_clip_their_mean_and_deviation() -> None:
    student = CNN()
    assert student.frame_hop == pytest.approx(0.064)
    assert student.frame_dim == 160 * 4
    # 1 + (64000 - 1024) / 512 = 124 spectra; frame 0 is centred on the first.
    embeddings = student.embed(torch.randn(64_000) * 0.1, 32_000)
    assert embeddings.frames.shape == (1, 31, 640)
    assert float(embeddings.frame_times[0]) == pytest.approx(0.016)
    clip = torch.cat([embeddings.frames.mean(1), embeddings.frames.std(1)], dim=1)
    torch.testing.assert_close(embeddings.clip, clip, rtol=1e-4, atol=2e-4)


def test_a_clip_of_any_length_has_a_frame_for_every_four_spectra() -> None:
    student = CNN(0.1).eval()
    with torch.no_grad():
        for spectra in (1, 2, 4, 5, 31, 32, 33):
            frames, valid = student.encode_mel(torch.randn(2, 128, spectra), torch.tensor([spectra, 1]))
            assert frames.shape == (2, -(-spectra // 4), 64)
            assert valid.tolist() == [-(-spectra // 4), 1]


def test_silence_is_the_padding_of_the_convolutions() -> None:
    student = CNN(0.1)
    inputs: list[torch.Tensor] = []
    student.layers[0].register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    student.embed(torch.zeros(32_000), 32_000)
    torch.testing.assert_close(inputs[0], torch.zeros(1, 1, 128, 61), atol=1e-5, rtol=0)
    student.embed(torch.randn(32_000) * 0.1, 32_000)
    assert float(inputs[1].mean()) > 1


def test_a_row_depends_on_its_part_of_the_frequencies() -> None:
    """A change of the highest bands, beyond the reach of the kernels, changes the last row only."""
    student = CNN(0.1).eval()
    mel = torch.randn(1, 128, 40)
    changed = mel.clone()
    changed[:, 120:] += 1
    with torch.no_grad():
        before, after = (student.encode_mel(spectra)[0].unflatten(2, (-1, 4)) for spectra in (mel, changed))
    assert before[..., :3].equal(after[..., :3])
    assert not before[..., 3].equal(after[..., 3])


def test_a_width_of_0_is_refused() -> None:
    with pytest.raises(UserError, match=r"--student.width 0: must be above 0"):
        CNN(0)
