"""CED against the network that it shares with Dasheng."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from distill.data.encoders.audioset import columns_of
from distill.data.errors import UserError
from distill.teachers.ced import CED
from distill.teachers.dasheng import Dasheng
from tests.teachers.golden import Golden, formula_state, noise
from tests.teachers.test_dasheng import INPUT, empty_network, head_shapes, shapes
from tests.teachers.test_dasheng import tiny_file as dasheng_file
from tests.teachers.tiny import TinyTeacher


def tiny_file(folder: Path) -> str:
    """Write the golden weights as the authors do."""
    torch.save(formula_state(shapes((16, 16), 63) | head_shapes(32), INPUT), folder / "ced.pt")
    return str(folder / "ced.pt")


def build_ced() -> nn.Module:
    return empty_network(shapes((16, 16), 63, dim=768, depth=12) | head_shapes(768))


def test_clip_frames_and_logits_equal_the_official_ones(tmp_path: Path) -> None:
    golden = Golden("dasheng", 1e-4)
    found = CED(tiny_file(tmp_path), heads=4).embed(noise(10, 16_000), 16_000)
    tokens = golden.outputs["ced_10s"]
    torch.testing.assert_close(found.frames, tokens.unflatten(1, (4, 62)).mean(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.clip, tokens.mean(1), atol=1e-4, rtol=0)
    golden.check("ced_10s_logits", found.logits[:, columns_of(527)[1].argsort()])


def test_the_file_of_the_hub_gives_the_same(tmp_path: Path) -> None:
    file = tiny_file(tmp_path)
    renamed = {
        key if key.startswith("outputlayer") else f"encoder.{key.replace('init_bn.1', 'init_bn')}": tensor
        for key, tensor in torch.load(file, weights_only=True).items()
    }
    save_file(renamed, tmp_path / "model.safetensors")
    found, expected = (
        CED(path, heads=4).embed(noise(3, 16_000), 16_000) for path in (str(tmp_path / "model.safetensors"), file)
    )
    assert found.clip.equal(expected.clip)
    assert found.logits.equal(expected.logits)


def test_frame_times_are_the_middles_of_16_spectra(tmp_path: Path) -> None:
    found = CED(tiny_file(tmp_path), heads=4).embed(noise(10, 16_000), 16_000)
    assert found.frame_times[:2].tolist() == pytest.approx([0.075, 0.235])


def test_a_file_of_dasheng_is_refused_and_one_of_ced_by_dasheng(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its patches have 16 bands, those of Dasheng have 64"):
        Dasheng(tiny_file(tmp_path), heads=4)
    with pytest.raises(UserError, match="its patches have 64 bands, those of CED have 16"):
        CED(dasheng_file(tmp_path), heads=4)


TINY = TinyTeacher(
    lambda folder: {"checkpoint": tiny_file(folder), "heads": 4},
    span=0.182,
    blur=0.016,
    one_file=True,
    published_network=build_ced,
)
