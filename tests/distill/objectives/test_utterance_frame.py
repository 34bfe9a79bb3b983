"""The objective of EAT and CAT against their official code: tokens, masks, losses and gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.objectives.parts.health import MIN_DEVIATION, deviation
from distill.objectives.utterance_frame import DISTANCES, UtteranceFrame, VisibleTokens, distances
from distill.students.patch_transformer.blocks import positions
from distill.students.patch_transformer.student import PatchTransformer
from tests.conftest import GOLDEN
from tests.own_parts import Loudness
from tests.students.patch_transformer.golden import (
    assert_close,
    golden,
    hidden_patches,
    official_objective,
    scalars,
    source,
)

TINY: dict[str, Any] = {"hidden": 32, "layers": 2, "heads": 2}


@pytest.mark.parametrize("system", ["eat", "cat"])
def test_visible_tokens_equal_the_official_ones_and_hidden_patches_do_not_leak(system: str, tmp_path: Path) -> None:
    objective, expected = official_objective(system, tmp_path).eval(), golden(system, "outputs")
    with torch.no_grad():
        seen = objective.encode_visible(source(system), hidden_patches(system))
        order = expected["ids_keep"].argsort(1)  # the official order is random
        theirs = expected["student_out"][:, 1:].gather(
            1, order.unsqueeze(2).expand(-1, -1, seen.encoded.tokens.shape[2])
        )
        assert_close(seen.encoded.tokens[:, 1:], theirs)
        assert_close(seen.encoded.tokens[:, 0], expected["student_out"][:, 0])
        per_patch = hidden_patches(system)[:1].unflatten(1, (-1, 8))
        content = per_patch.repeat_interleave(16, 1).repeat_interleave(16, 2)
        changed = torch.where(content, torch.randn(content.shape), source(system)[:1])
        assert objective.encode_visible(changed, hidden_patches(system)[:1]).encoded.tokens.equal(
            objective.encode_visible(source(system)[:1], hidden_patches(system)[:1]).encoded.tokens
        )


def losses(objective: UtteranceFrame, system: str) -> tuple[dict[str, Tensor], VisibleTokens, Tensor]:
    spectrogram, mask = source(system), hidden_patches(system)
    seen, target = objective.encode_visible(spectrogram, mask), objective.target(spectrogram)
    filled = objective.fill_hidden(seen.encoded.tokens[:, 1:], mask, seen.visible)
    predicted = objective.decoder(filled, spectrogram.shape[1] // 16, 8)
    found = objective.self_distillation(predicted, seen.encoded.tokens[:, 0], target, mask)
    for name, teacher in objective.teachers.items():
        found[name] = objective.regularisation(name, seen.encoded, teacher.clip)
    return found, seen, predicted


@pytest.mark.parametrize("system", ["eat", "cat"])
def test_targets_losses_and_gradients_equal_the_official_ones(system: str, tmp_path: Path) -> None:
    objective, expected = official_objective(system, tmp_path).train(), golden(system, "outputs")
    assert_close(objective.target(source(system))[: len(expected["target"])], expected["target"])
    found, _, predicted = losses(objective, system)
    if system == "eat":
        assert_close(predicted[:2], expected["decoder_out_zero_noise"])
    torch.testing.assert_close(found["frame"], expected["loss_frame_elem"].mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["utterance"], expected["loss_cls_elem"].sum(), rtol=1e-5, atol=1e-5)
    if system == "cat":
        torch.testing.assert_close(found["clap"], expected["loss_clap_elem"].sum(), rtol=1e-5, atol=1e-5)
    objective.total(found).backward()
    gradients = {key.removeprefix("grad."): value for key, value in expected.items() if key.startswith("grad.")}
    assert gradients
    ours = official_gradients(objective)
    for key, value in gradients.items():
        assert_close(ours[key], value, 3e-5)
    if system == "eat":
        assert set(gradients) == set(ours)


def official_gradients(objective: UtteranceFrame) -> dict[str, Tensor]:
    """Return the gradients of the student, the decoder and the projector, by the official keys."""
    image = "modality_encoders.IMAGE."
    names = {"first": f"{image}extra_tokens", "patches.proj.": f"{image}local_encoder.proj."}
    names |= {"norm.": f"{image}context_encoder.norm.", "patches.": image}
    found = {}
    for key, parameter in objective.student.named_parameters():
        ours = next((prefix for prefix in names if key.startswith(prefix)), "")
        found[names.get(ours, "") + key.removeprefix(ours)] = parameter.grad
    for key, parameter in objective.decoder.named_parameters():
        kind, _, rest = key.partition(".")
        number, _, leaf = rest.partition(".")
        name = f"blocks.{number}.0.{leaf}" if kind == "blocks" else key
        found[f"{image}decoder.{name}"] = parameter.grad
    for projector in objective.projectors.values():
        found |= {f"clap_proj.{key}": parameter.grad for key, parameter in projector.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    return found


VARIANTS = [
    key for key in json.loads((GOLDEN / "cat" / "scalars.json").read_text())["rr_loss_variants"] if "disp" not in key
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_published_form_of_regularisation(variant: str, tmp_path: Path) -> None:
    projection, distance, layer = variant.split(".")
    options = {"distance": "kl" if distance == "ce" else distance, "layer": int(layer.removeprefix("layer"))}
    objective = official_objective(
        "cat", tmp_path, projected="teacher" if projection == "proj1" else "student", **options
    )
    if projection == "proj1":
        inputs = golden("cat", "inputs")
        objective.projectors["clap"].load_state_dict(
            {name: inputs[f"proj1.clap_proj.{name}"] for name in ("weight", "bias")}
        )
    with torch.no_grad():
        found, _, _ = losses(objective.eval(), "cat")
    assert float(found["clap"]) == pytest.approx(scalars("cat")["rr_loss_variants"][variant], rel=2e-5)


def test_the_slow_copy_follows_as_the_official_one(tmp_path: Path) -> None:
    objective, expected = official_objective("eat", tmp_path), golden("eat", "outputs")
    objective.after_step(1)
    slow = objective.slow.network.state_dict()
    for theirs, ours in (
        ("blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.weight"),
        ("blocks.1.norm2.bias", "blocks.1.norm2.bias"),
        ("modality_encoders.IMAGE.context_encoder.norm.weight", "norm.weight"),
        ("modality_encoders.IMAGE.extra_tokens", "first"),
        ("modality_encoders.IMAGE.local_encoder.proj.weight", "patches.proj.weight"),
    ):
        torch.testing.assert_close(slow[ours], expected[f"ema_after_step.{theirs}"], rtol=1e-6, atol=1e-7)
    for step, decay in scalars("eat")["ema_decay_at"].items():
        assert objective.slow.decay(int(step)) == pytest.approx(decay, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clones": 0}, "--objective.clones 0"),
        ({"mask": {"share": 1.0}}, "must lie between 0 and 1"),
        ({"mask": {"kind": "stripes"}}, "mask.kind 'stripes'"),
        ({"decoder_kernel": 4}, "must be odd"),
        ({"layer": 3}, "the student has 2 blocks"),
        ({"distance": "far"}, "--objective.distance 'far'"),
        ({"decoder": "cubic"}, "--objective.decoder 'cubic'"),
    ],
)
def test_invalid_objectives_are_refused_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UtteranceFrame(PatchTransformer(**TINY), {}, **options)


def test_a_short_clip_is_padded_to_a_patch_and_needs_a_visible_one() -> None:
    student = PatchTransformer(**TINY)
    assert student.embed(torch.randn(800), 16_000).frames.shape == (1, 1, 32)
    objective = UtteranceFrame(student, {}, clones=2, mask={"share": 0.95})
    with pytest.raises(UserError, match="leaves 0 of them visible"):
        objective(AudioBatch.of(torch.randn(2, 800), 16_000))


def test_collapsed_representations_stop_the_run() -> None:
    student = PatchTransformer(**TINY)
    objective = UtteranceFrame(student, {}, clones=1).train()
    torch.nn.init.zeros_(objective.decoder.proj.weight)
    batch = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    objective(batch)
    collapsed = float(objective.observed["prediction_deviation"])
    objective.check_observed("prediction_deviation", 100, collapsed)
    with pytest.raises(UserError, match="collapse: the predictions have a deviation"):
        objective.check_observed("prediction_deviation", 101, collapsed)


def test_health_is_observed() -> None:
    objective = UtteranceFrame(PatchTransformer(**TINY), {}, clones=3).train()
    objective(AudioBatch.of(torch.randn(2, 16_000), 16_000))
    objective.after_step(1)
    seen = objective.observed
    assert seen["hidden_share"] == pytest.approx(0.8, abs=0.02)
    assert 1 <= seen["effective_rank"] <= 6
    assert seen["target_deviation"] > 0.5
    assert seen["moving_average"] == pytest.approx(0.9998)


def test_a_mean_over_clones_does_not_depend_on_their_number() -> None:
    """A sum, as in the published code, depends on it."""
    student = PatchTransformer(**TINY).eval()
    first, target = torch.randn(2, 32), torch.randn(2, 56, 32)
    predicted, mask = torch.randn(2, 56, 32), torch.rand(2, 56) < 0.8
    for summed in (False, True):
        objective = UtteranceFrame(student, {}, sum_over_clones=summed)
        one, four = (
            objective.self_distillation(
                predicted.repeat_interleave(n, 0), first.repeat_interleave(n, 0), target, mask.repeat_interleave(n, 0)
            )
            for n in (1, 4)
        )
        torch.testing.assert_close(one["frame"], four["frame"])
        torch.testing.assert_close(one["utterance"] * (4 if summed else 1), four["utterance"])


@pytest.mark.parametrize("sides", [(4,), (8,), (4, 8), (4, 8, 16, 32)])
def test_patches_of_any_resolution_are_predicted(sides: tuple[int, ...]) -> None:
    student = PatchTransformer(**TINY, resolutions=sides, channels=(8, 12, 16)[: len(sides) - 1])
    objective = UtteranceFrame(student, {}, clones=2, mask={"block": 1}).train()
    losses = objective(AudioBatch.of(torch.randn(1, 10_400), 16_000))  # 63 spectra, padded to 64
    objective.total(losses).backward()
    assert all(parameter.grad is not None for parameter in student.patches.parameters())
    assert objective.target(torch.randn(1, 64, 128)).shape == (1, 64 // sides[-1] * 128 // sides[-1], 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_linear_decoder_predicts_each_patch_from_its_token_or_position(dtype: torch.dtype) -> None:
    objective = UtteranceFrame(PatchTransformer(**TINY), {}, decoder="linear", noise=0.0)
    assert [name for name, _ in objective.decoder.named_parameters()] == ["proj.weight", "proj.bias"]
    hidden, tokens = torch.ones(2, 24, dtype=torch.bool), torch.randn(2, 4, 32, dtype=dtype)
    visible = torch.tensor([[0, 5, 9, 20], [1, 2, 3, 4]])
    hidden.scatter_(1, visible, False)
    filled = objective.fill_hidden(tokens, hidden, visible)
    expected = positions(3, 8, 32).to(dtype).expand(2, -1, -1).clone()
    expected[~hidden] = tokens.flatten(0, 1)
    assert filled.equal(expected)
    predicted = objective.decoder(filled.float(), 3, 8)
    torch.testing.assert_close(predicted, objective.decoder.proj(filled.float()))
    assert deviation(predicted[hidden]) > 10 * MIN_DEVIATION


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_the_share_of_a_teacher_that_is_explained(distance: str, summed: bool) -> None:
    """0 for the best constant of many clips, 1 for the teacher's own embedding."""
    teacher, clips = Loudness(), AudioBatch.of(torch.randn(40, 1600) * torch.rand(40, 1), 16_000)
    options: dict[str, Any] = {"clones": 2, "distance": distance, "sum_over_clones": summed}
    objective = UtteranceFrame(PatchTransformer(**TINY), {"one": teacher}, **options)
    embedding = objective.teacher_target("one", teacher(clips).clip)
    zero = torch.tensor(0.0)
    assert objective.train().measure("one", zero, embedding) == {}
    assert objective.eval().measure("one", zero, embedding) == {"explained": 1.0}
    constant = objective.constants["one"](embedding).float()
    each = distances(distance, constant, embedding).repeat_interleave(2)
    loss = each.sum() if summed else each.mean()
    assert objective.measure("one", loss, embedding)["explained"] == pytest.approx(0, abs=1e-5)
    for _ in range(50):
        other = distances(distance, constant + torch.randn(3) * 0.1, embedding).mean()
        assert other >= distances(distance, constant, embedding).mean() - 1e-6


def test_a_projected_teacher_has_no_yardstick() -> None:
    clips = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    for projected, expected in (("student", {"explained"}), ("teacher", set())):
        objective = UtteranceFrame(PatchTransformer(**TINY), {"one": Loudness()}, clones=2, projected=projected)
        objective(clips)
        objective(clips)
        assert {name for name in objective.observed if name.startswith("explained")} == expected
