"""Dasheng against its official code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.encoders.audioset import columns_of
from distill.data.errors import UserError
from distill.teachers.dasheng import Dasheng, DashengNetwork
from tests.teachers.golden import WHOLE, Golden, formula_state, noise
from tests.teachers.tiny import TinyTeacher

# Mean and variance of the decibels of the input, for the first norm.
INPUT = {"init_bn.1.running_mean": -30.0, "init_bn.1.running_var": 400.0}
CONFIG = {"embed_dim": 32, "depth": 2, "num_heads": 4}


def shapes(patch: tuple[int, int], columns: int, dim: int = 32, depth: int = 2) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an encoder's tensors, by the official keys, without those of the front-end."""
    found: dict[str, tuple[int, ...]] = {
        "time_pos_embed": (1, dim, 1, columns),
        "freq_pos_embed": (1, dim, 64 // patch[0], 1),
        "init_bn.1.num_batches_tracked": (),
        "patch_embed.proj.weight": (dim, 1, *patch),
        "patch_embed.proj.bias": (dim,),
    }
    found |= {f"init_bn.1.{key}": (64,) for key in ("weight", "bias", "running_mean", "running_var")}
    norms = [*(f"blocks.{block}.norm{number}" for block in range(depth) for number in (1, 2)), "norm"]
    found |= {f"{norm}.{key}": (dim,) for norm in norms for key in ("weight", "bias")}
    sizes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in range(depth):
        for layer, size in sizes.items():
            found |= {f"blocks.{block}.{layer}.weight": size, f"blocks.{block}.{layer}.bias": size[:1]}
    return found


def head_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the head of AudioSet's classes."""
    names = {"0.weight": (dim,), "0.bias": (dim,), "1.weight": (527, dim), "1.bias": (527,)}
    return {f"outputlayer.{name}": shape for name, shape in names.items()}


def tiny_file(folder: Path, **other: Tensor) -> str:
    """Write the golden weights as the authors do, with other tensors beside them."""
    state = formula_state(shapes((64, 4), 252), INPUT) | other
    torch.save({"model": state, "config": CONFIG}, folder / "dasheng.pt")
    return str(folder / "dasheng.pt")


def empty_network(found: dict[str, tuple[int, ...]]) -> DashengNetwork:
    return DashengNetwork({key: torch.empty(shape) for key, shape in found.items()})


def build_dasheng() -> nn.Module:
    return empty_network(shapes((64, 4), 252, dim=768, depth=12))


class TestOfficialCode:
    golden = Golden("dasheng", 1e-4)

    def test_frames_and_their_mean(self, tmp_path: Path) -> None:
        teacher = Dasheng(tiny_file(tmp_path))
        found = teacher.embed(noise(3, 16_000), 16_000)
        self.golden.check("dasheng_3s", found.frames)
        torch.testing.assert_close(found.clip, self.golden.outputs["dasheng_3s"].mean(1), atol=1e-4, rtol=0)

    def test_without_windows_long_clips_are_encoded_in_parts(self, tmp_path: Path) -> None:
        teacher = Dasheng(tiny_file(tmp_path), windows=WHOLE)
        self.golden.check("dasheng_12s", teacher.embed(noise(12, 16_000), 16_000).frames)

    def test_front_end_and_its_range(self, tmp_path: Path) -> None:
        teacher = Dasheng(tiny_file(tmp_path))
        spectra = teacher.spectrogram(noise(3, 16_000))[:, :, ::8]
        torch.testing.assert_close(spectra, self.golden.outputs["logmel_3s_sub"], atol=1e-3, rtol=0)  # decibels
        loud = noise(3, 16_000) * 3
        loud[:, :8_000] = 0
        quiet = loud * 1e-4
        found = teacher(AudioBatch.of(torch.cat([loud.clamp(-1, 1), quiet]), 16_000)).frames
        self.golden.check("dasheng_loud", found[:1])
        torch.testing.assert_close(found[1:], teacher.embed(quiet, 16_000).frames, atol=1e-4, rtol=0)

    def test_an_inner_layer(self, tmp_path: Path) -> None:
        found = Dasheng(tiny_file(tmp_path), layer=1).embed(noise(3, 16_000), 16_000)
        self.golden.check("dasheng_3s_block1", found.frames)


def test_a_fine_tuned_file_gives_logits(tmp_path: Path) -> None:
    head = formula_state(head_shapes(32))
    teacher = Dasheng(tiny_file(tmp_path, **head))
    found = teacher.embed(noise(3, 16_000), 16_000)
    norm, linear = nn.LayerNorm(32), nn.Linear(32, 527)
    norm.load_state_dict({"weight": head["outputlayer.0.weight"], "bias": head["outputlayer.0.bias"]})
    linear.load_state_dict({"weight": head["outputlayer.1.weight"], "bias": head["outputlayer.1.bias"]})
    labels, columns = columns_of(527)
    with torch.no_grad():
        expected = linear(norm(found.clip))[:, columns]
    torch.testing.assert_close(found.logits, expected)
    assert teacher.labels == labels


@pytest.mark.parametrize(("dim", "heads"), [(768, 12), (1280, 16), (1536, 24)])
def test_heads_of_the_published_widths(dim: int, heads: int) -> None:
    with torch.device("meta"):
        network = empty_network(shapes((64, 4), 252, dim=dim, depth=1))
    assert network.blocks[0].attn.heads == heads  # type: ignore[union-attr]


def test_the_heads_are_those_of_the_file_unless_the_user_states_them(tmp_path: Path) -> None:
    file = tiny_file(tmp_path)
    for heads, expected in ((0, 4), (2, 2)):
        teacher = Dasheng(file, heads=heads)
        assert teacher.model.blocks[0].attn.heads == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["blocks.0.ls1.gamma", "cls_token"])
def test_a_part_that_this_network_lacks_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"'{key}' is not part of Dasheng; is it another model"):
        Dasheng(tiny_file(tmp_path, **{key: torch.ones(32)}))


def test_frame_times_are_the_middles_of_four_spectra(tmp_path: Path) -> None:
    found = Dasheng(tiny_file(tmp_path)).embed(noise(10, 16_000), 16_000)
    assert found.frames.shape == (1, 250, 32)
    torch.testing.assert_close(found.frame_times[:2], torch.tensor([0.015, 0.055]))


TINY = TinyTeacher(
    lambda folder: {"checkpoint": tiny_file(folder), "heads": 4},
    span=0.062,
    blur=0.016,
    one_file=True,
    published_network=build_dasheng,
)
