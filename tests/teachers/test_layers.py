"""Inner layers of transformers, against networks that are cut off after the layer."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import distill
from distill.data.errors import UserError
from distill.run.encoders import introduction
from distill.run.identity import encoder_fingerprint
from tests.teachers.tiny import tiny_teacher


def cut_ast(model: Any, depth: int) -> None:
    network = model.audio_spectrogram_transformer
    network.layers, network.layernorm = network.layers[:depth], nn.Identity()


def cut_beats(model: Any, depth: int) -> None:
    model.encoder.layers = model.encoder.layers[:depth]


def cut_matpac(model: Any, depth: int) -> None:
    network = model.student_encoder
    network.blocks, network.norm = network.blocks[:depth], nn.Identity()


def cut_passt(model: Any, depth: int) -> None:
    model.blocks, model.norm = model.blocks[:depth], nn.Identity()


def cut_ssast(model: Any, depth: int) -> None:
    cut_passt(model.v, depth)


def cut_eat(model: Any, depth: int) -> None:
    model.blocks = model.blocks[:depth]


CUTS: dict[str, Callable[[Any, int], None]] = {
    "ast": cut_ast,
    "beats": cut_beats,
    "ced": cut_passt,
    "dasheng": cut_passt,
    "eat": cut_eat,
    "matpac": cut_matpac,
    "passt": cut_passt,
    "ssast": cut_ssast,
}


def embed(teacher: distill.Teacher) -> distill.Embeddings:
    noise = torch.randn(1, 2 * teacher.sample_rate, generator=torch.Generator().manual_seed(1)) * 0.1
    return teacher.embed(noise, teacher.sample_rate)


@pytest.mark.parametrize("name", CUTS)
def test_a_layer_is_the_output_of_a_network_that_ends_there(name: str, tmp_path: Path) -> None:
    options = tiny_teacher(name).options(tmp_path)
    first = embed(distill.create_teacher(name, **options, layer=1))
    second = embed(distill.create_teacher(name, **options, layer=[2]))
    for layer, found in ((1, first), (2, second)):
        cut: Any = distill.create_teacher(name, **options)
        CUTS[name](cut.model, layer)
        expected = embed(cut)
        torch.testing.assert_close(found.clip, expected.clip)
        torch.testing.assert_close(found.frames, expected.frames)
        assert found.logits.shape[1] == 0
    mean = embed(distill.create_teacher(name, **options, layer=[1, 2]))
    torch.testing.assert_close(mean.frames, (first.frames + second.frames) / 2)
    both = distill.create_teacher(name, **options, layer=[2, 1], combine="concat")
    whole = embed(both)
    assert (both.clip_dim, both.frame_dim) == (whole.clip.shape[1], whole.frames.shape[2])
    assert whole.clip.shape[1] == 2 * first.clip.shape[1]
    if name != "matpac":  # its rows of patches are concatenated too
        torch.testing.assert_close(whole.frames, torch.cat([second.frames, first.frames], 2))


def test_layers_of_a_model_of_the_hub_are_its_hidden_states(tmp_path: Path) -> None:
    options = tiny_teacher("transformers").options(tmp_path)
    plain: Any = distill.create_teacher("transformers", **options)
    noise = torch.randn(1, plain.sample_rate) * 0.1
    inputs = plain._extractor([noise[0].numpy()], sampling_rate=plain.sample_rate, return_tensors="pt")[plain._input]
    with torch.no_grad():
        states = plain.model(inputs, output_hidden_states=True).hidden_states
    for layer in range(1, len(states)):
        chosen = distill.create_teacher("transformers", **options, layer=layer)
        torch.testing.assert_close(chosen.embed(noise, plain.sample_rate).frames, states[layer])
    both = distill.create_teacher("transformers", **options, layer=[1, 2], combine="concat")
    torch.testing.assert_close(both.embed(noise, plain.sample_rate).frames, torch.cat([states[1], states[2]], 2))


def test_layers_of_clap_are_the_stages_with_time_unfolded(tmp_path: Path) -> None:
    options = tiny_teacher("clap").options(tmp_path)
    plain: Any = distill.create_teacher("clap", **options)
    noise = torch.randn(1, 480_000) * 0.1
    features, longer = plain.features(distill.AudioBatch.of(noise, 48_000))
    with torch.no_grad():
        maps = plain.model.audio_model.audio_encoder(
            features, longer, output_hidden_states=True, output_hidden_states_before_downsampling=True
        ).hidden_states
    expected = []
    for layer in range(1, len(maps)):
        _, dim, height, width = maps[layer].shape  # four parts of the clip lie one below the other
        rows = height // 4
        steps = [maps[layer][0, :, t // width * rows : (t // width + 1) * rows, t % width] for t in range(4 * width)]
        expected.append(torch.stack([step.mean(1) for step in steps]).unsqueeze(0))
        found = distill.create_teacher("clap", **options, layer=layer).embed(noise, 48_000)
        torch.testing.assert_close(found.frames, expected[-1])
        torch.testing.assert_close(found.clip, expected[-1].mean(1))
        assert found.frame_times.diff().median() == pytest.approx(10 / (4 * width), rel=0.01)
        assert dim == found.clip.shape[1]
    both = distill.create_teacher("clap", **options, layer=[3, 1], combine="concat").embed(noise, 48_000)
    shorter = expected[0].unflatten(1, (expected[2].shape[1], -1)).mean(2)
    torch.testing.assert_close(both.frames, torch.cat([expected[2], shorter], 2))
    with pytest.raises(UserError, match=r"--teacher\.combine mean: the layers of CLAP differ in width; use concat"):
        distill.create_teacher("clap", **options, layer=[1, 2])
    with pytest.raises(UserError, match=r"--teacher\.layer: only projected embeddings share a space with texts"):
        distill.create_teacher("clap", **options, layer=1).embed_texts(["rain"])


@pytest.mark.parametrize("name", [*CUTS, "clap", "transformers"])
def test_the_description_says_which_layers_exist(name: str, tmp_path: Path) -> None:
    options = tiny_teacher(name).options(tmp_path)
    teacher = distill.create_teacher(name, **options, layer=1)
    last = int(re.search(r", layers 1 to (\d+)", introduction(teacher))[1])  # type: ignore[index]
    distill.create_teacher(name, **options, layer=last)
    with pytest.raises(UserError, match=rf"layers 1 to {last}$"):
        distill.create_teacher(name, **options, layer=last + 1)


def test_a_copy_has_layers_of_its_own(tmp_path: Path) -> None:
    teacher = distill.create_teacher("beats", **tiny_teacher("beats").options(tmp_path), layer=1)
    before, copied = embed(teacher).clip, copy.deepcopy(teacher)
    with torch.no_grad():
        next(copied.model.encoder.layers[0].parameters()).add_(1)  # type: ignore[operator, union-attr]
    assert not embed(copied).clip.equal(before)
    assert embed(teacher).clip.equal(before)


@pytest.mark.parametrize("name", ["ast", "beats", "clap", "matpac", "passt", "ssast", "transformers"])
def test_stores_from_before_the_option_stay_valid(name: str, tmp_path: Path) -> None:
    options = tiny_teacher(name).options(tmp_path)
    plain = encoder_fingerprint(distill.create_teacher(name, **options))
    assert plain == encoder_fingerprint(distill.create_teacher(name, **options, layer=None))
    assert not {"layer", "combine"} & plain["options"].keys()
    chosen = encoder_fingerprint(distill.create_teacher(name, **options, layer=1))
    assert chosen["options"]["layer"] == 1
    assert chosen != encoder_fingerprint(distill.create_teacher(name, **options, layer=2))


@pytest.mark.parametrize("name", [*CUTS, "clap", "transformers"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": 0}, r"--teacher\.layer 0: the network has the layers 1 to \d+$"),
        ({"layer": [1, 99]}, r"--teacher\.layer 99: the network has the layers 1 to \d+$"),
        ({"layer": []}, "one layer, or several different ones"),
        ({"layer": [1, 1]}, "one layer, or several different ones"),
        ({"layer": 1, "combine": "sum"}, r"--teacher\.combine"),
    ],
)
def test_a_wrong_layer_is_one_line(name: str, wrong: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        distill.create_teacher(name, **tiny_teacher(name).options(tmp_path), **wrong)
