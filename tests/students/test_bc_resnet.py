"""BC-ResNet against the official code and the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.students.bc_resnet import WIDTHS, BCResNet
from tests.conftest import GOLDEN

TINY_OPTIONS: dict[str, dict[str, Any]] = {"bc_resnet": {"width": 1.0}}


def golden_student(width: float) -> BCResNet:
    """Return a student with the weights of the recipe in tests/golden/bc_resnet/README.md."""
    student, random = BCResNet(width).double(), np.random.RandomState(7)
    for key, tensor in student.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        drawn = random.standard_normal(tuple(tensor.shape))
        if tensor.dim() == 4:
            drawn = drawn * np.sqrt(2 / np.prod(tensor.shape[1:]))
        elif key.endswith(("weight", "running_var")):
            drawn = 1 + 0.2 * np.tanh(drawn)
        else:
            drawn = 0.2 * drawn
        tensor.copy_(torch.from_numpy(np.float32(drawn)))
    return student


def golden_mel() -> torch.Tensor:
    return torch.from_numpy(np.float32(2 * np.random.RandomState(8).standard_normal((2, 40, 50)) - 3)).double()


@pytest.mark.parametrize("width", [1.0, 1.5])
def test_frames_equal_the_official_ones(width: float) -> None:
    outputs = np.load(GOLDEN / "bc_resnet" / "outputs.npz")
    student = golden_student(width).eval()
    with torch.no_grad():
        frames, valid = student.encode_mel(golden_mel())
    assert valid.tolist() == [50, 50]
    np.testing.assert_allclose(frames[:, ::10], outputs[f"frames_{width:g}"], rtol=1e-9, atol=1e-9)
    for module in student.train().modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.eval()
    clip = student.encode_mel(golden_mel())[0].mean(1)
    np.testing.assert_allclose(clip.detach(), outputs[f"train_clip_{width:g}"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("width", "published"),
    [(1, "9.2k"), (1.5, "17.2k"), (2, "27.3k"), (3, "54.2k"), (6, "188k"), (8, "321k")],
)
def test_the_parameters_are_those_of_the_papers_table_3(width: float, published: str) -> None:
    student = distill.create_student("bc_resnet", width=float(width))
    classifier = 12 * student.clip_dim + 12
    thousands = (student.parameter_count() + classifier) / 1000
    assert f"{thousands:.{0 if thousands > 100 else 1}f}k" == published
    assert width in WIDTHS


def test_a_frame_every_16_ms_and_a_size_of_32_times_the_width() -> None:
    embeddings = BCResNet(1.5).embed(torch.randn(32_000) * 0.1, 32_000)
    assert embeddings.frames.shape == (1, 61, 48)  # 1 + (32000 - 1024) // 512 spectra
    assert float(embeddings.frame_times.diff().median()) == pytest.approx(0.016)
    torch.testing.assert_close(embeddings.clip, embeddings.frames.mean(1))


def test_dilated_convolutions_do_not_cover_the_padding() -> None:
    """The initial weights hardly mix distant time steps; those of the recipe do."""
    student, mel = golden_student(1.0).eval(), torch.cat([golden_mel()] * 2)
    valid = torch.tensor([50, 41, 17, 1])
    with torch.no_grad():
        together, frames = student.encode_mel(mel, valid)
        for row, count in enumerate(valid.tolist()):
            alone, _ = student.encode_mel(mel[row : row + 1, :, :count])
            torch.testing.assert_close(together[row, :count], alone[0], rtol=1e-9, atol=1e-9)
    assert frames.equal(valid)


def test_other_widths_are_refused() -> None:
    with pytest.raises(UserError, match=r"--student.width 4: must be one of 1, 1.5, 2, 3, 6, 8"):
        BCResNet(4)
