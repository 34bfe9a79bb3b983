"""EAT and CAT against their official code: every token, loss and gradient; and what their users would meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.objectives.classification import Classification
from distill.objectives.parts.masking import GridMask, block_mask, visible_patches
from distill.objectives.utterance_frame import UtteranceFrame, VisibleTokens
from distill.students.patch_transformer.blocks import positions
from distill.students.patch_transformer.student import PatchTransformer, blanked
from distill.students.saved import save_student
from distill.students.student import Student
from distill.teachers.teacher import Teacher
from distill.training.optimizer import Optimizer, parameter_groups
from tests.conftest import GOLDEN


@cache
def golden(system: str, part: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / system / f"{part}.safetensors")


@cache
def scalars(system: str) -> dict[str, Any]:
    return json.loads((GOLDEN / system / "scalars.json").read_text())


class Told(Teacher):
    """Says what it was told."""

    sample_rate = 16_000

    def __init__(self, clip: Tensor) -> None:
        super().__init__()
        self.clip = clip

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(self.clip[: len(batch)])


def official(system: str, folder: Path, **options: Any) -> UtteranceFrame:
    """The golden pre-training network: student, decoder, projector and slow copy."""
    state = golden(system, "state_dict")
    save_file({k: v for k, v in state.items() if not k.startswith("_ema.")}, folder / "student.safetensors")
    save_file({k[5:]: v for k, v in state.items() if k.startswith("_ema.")}, folder / "slow.safetensors")
    channels = (16, 24)
    student, slow = (
        PatchTransformer(heads=2, channels=channels, checkpoint=str(folder / f"{name}.safetensors"))
        for name in ("student", "slow")
    )
    teachers = {"clap": Told(golden("cat", "inputs")["clap_emb"])} if system == "cat" else {}
    clones = {"eat": 4, "cat": 2}[system]
    objective = UtteranceFrame(student, teachers, clones=clones, noise=0.0, sum_over_clones=True, **options)
    objective.slow.network.load_state_dict(slow.state_dict())
    prefix = "modality_encoders.IMAGE.decoder."
    decoder = {k.removeprefix(prefix).replace(".0.", "."): v for k, v in state.items() if k.startswith(prefix)}
    objective.decoder.load_state_dict(decoder)
    if teachers and options.get("projected") != "teacher":
        objective.projectors["clap"].load_state_dict(
            {"weight": state["clap_proj.weight"], "bias": state["clap_proj.bias"]}
        )
    return objective


def source(system: str) -> Tensor:
    inputs = golden(system, "inputs")
    return (inputs["source"] if system == "eat" else inputs["source_fp16"].float())[:, 0]


def hidden(system: str) -> Tensor:
    return golden(system, "inputs")["mask"].bool()


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, atol=tolerance * max(1.0, scale), rtol=tolerance)


def test_eats_encoder_equals_the_official_one(tmp_path: Path) -> None:
    student, expected = official("eat", tmp_path).student.eval(), golden("eat", "outputs")
    with torch.no_grad():
        close(student.patches(source("eat")), expected["patch_embed"])
        close(student.contextual(student.embed_patches(source("eat"))).tokens, expected["features_all"])


def test_cats_encoder_equals_the_official_one_and_takes_any_length(tmp_path: Path) -> None:
    student, expected = official("cat", tmp_path).student.eval(), golden("cat", "outputs")
    with torch.no_grad():
        close(student.patches(source("cat")[:1]), expected["mrb_unmasked"])
        short = student.contextual(student.embed_patches(source("cat")[:1, :256])).tokens
        close(short, expected["features_short_T256"])
        shown = (~hidden("cat")).float().unflatten(1, (64, 8))
        masked = student.patches(source("cat").repeat_interleave(2, 0), shown)
        close(masked[: len(expected["mrb_masked"])], expected["mrb_masked"])


@pytest.mark.parametrize("system", ["eat", "cat"])
def test_visible_tokens_equal_the_official_ones_and_hidden_patches_do_not_leak(system: str, tmp_path: Path) -> None:
    objective, expected = official(system, tmp_path).eval(), golden(system, "outputs")
    with torch.no_grad():
        seen = objective.encode_visible(source(system), hidden(system))
        order = expected["ids_keep"].argsort(1)  # theirs come in any order
        theirs = expected["student_out"][:, 1:].gather(
            1, order.unsqueeze(2).expand(-1, -1, seen.encoded.tokens.shape[2])
        )
        close(seen.encoded.tokens[:, 1:], theirs)
        close(seen.encoded.tokens[:, 0], expected["student_out"][:, 0])
        per_patch = hidden(system)[:1].unflatten(1, (-1, 8))
        content = per_patch.repeat_interleave(16, 1).repeat_interleave(16, 2)
        changed = torch.where(content, torch.randn(content.shape), source(system)[:1])
        assert objective.encode_visible(changed, hidden(system)[:1]).encoded.tokens.equal(
            objective.encode_visible(source(system)[:1], hidden(system)[:1]).encoded.tokens
        )


def losses(objective: UtteranceFrame, system: str) -> tuple[dict[str, Tensor], VisibleTokens, Tensor]:
    spectrogram, mask = source(system), hidden(system)
    seen, target = objective.encode_visible(spectrogram, mask), objective.target(spectrogram)
    filled = objective.fill_hidden(seen.encoded.tokens[:, 1:], mask, seen.visible)
    predicted = objective.decoder(filled, spectrogram.shape[1] // 16, 8)
    found = objective.self_distillation(predicted, seen.encoded.tokens[:, 0], target, mask)
    for name, teacher in objective.teachers.items():
        found[name] = objective.regularisation(name, seen.encoded, teacher.clip)
    return found, seen, predicted


@pytest.mark.parametrize("system", ["eat", "cat"])
def test_targets_losses_and_gradients_equal_the_official_ones(system: str, tmp_path: Path) -> None:
    objective, expected = official(system, tmp_path).train(), golden(system, "outputs")
    close(objective.target(source(system))[: len(expected["target"])], expected["target"])
    found, _, predicted = losses(objective, system)
    if system == "eat":
        close(predicted[:2], expected["decoder_out_zero_noise"])
    torch.testing.assert_close(found["frame"], expected["loss_frame_elem"].mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["utterance"], expected["loss_cls_elem"].sum(), rtol=1e-5, atol=1e-5)
    if system == "cat":
        torch.testing.assert_close(found["clap"], expected["loss_clap_elem"].sum(), rtol=1e-5, atol=1e-5)
    objective.total(found).backward()
    gradients = {key.removeprefix("grad."): value for key, value in expected.items() if key.startswith("grad.")}
    assert gradients
    ours = official_gradients(objective)
    for key, value in gradients.items():
        close(ours[key], value, 3e-5)
    if system == "eat":
        assert set(gradients) == set(ours)


def official_gradients(objective: UtteranceFrame) -> dict[str, Tensor]:
    """Gradients of the student, the decoder and the projector, by the official keys."""
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
    objective = official("cat", tmp_path, projected="teacher" if projection == "proj1" else "student", **options)
    if projection == "proj1":
        inputs = golden("cat", "inputs")
        objective.projectors["clap"].load_state_dict(
            {name: inputs[f"proj1.clap_proj.{name}"] for name in ("weight", "bias")}
        )
    with torch.no_grad():
        found, _, _ = losses(objective.eval(), "cat")
    assert float(found["clap"]) == pytest.approx(scalars("cat")["rr_loss_variants"][variant], rel=2e-5)


def test_the_slow_copy_follows_as_the_official_one(tmp_path: Path) -> None:
    objective, expected = official("eat", tmp_path), golden("eat", "outputs")
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


def test_positions_and_front_end_equal_the_official_ones() -> None:
    expected = golden("eat", "outputs")
    rows = scalars("eat")["pos768_row_indices"]
    close(positions(768, 8, 768)[rows], expected["pos768_rows"], 1e-4)
    student = PatchTransformer(hidden=32, layers=1, heads=2, frames=160)
    spectrogram, _ = student.spectrogram(AudioBatch.of(golden("eat", "inputs")["wav16k"], 16_000))
    close(spectrogram, expected["fbank_padded160_normalised_as"], 1e-4)


def test_blocks_around_the_official_centres_equal_the_official_ones() -> None:
    expected = golden("eat", "outputs")
    hidden_before = expected["mask_official_seed1234_before_adjust"].bool()
    assert (~block_mask(expected["mask_official_seed1234_centres"], 64, 8, 5)).equal(hidden_before)


@pytest.mark.parametrize(("name", "share", "adjust"), [("official_base", 0.8, 0.07), ("official_large", 0.75, 0.10)])
def test_masks_have_the_official_statistics(name: str, share: float, adjust: float) -> None:
    expected = json.loads((GOLDEN / "eat" / "mask_stats.json").read_text())[name]
    torch.manual_seed(0)
    mask = GridMask(share=share, adjust=adjust)
    visible = ~mask.draw(4000, 64, 8, torch.device("cpu"))
    assert set(visible.sum(1).tolist()) == {expected["visible_target"]}
    by_row = visible.unflatten(1, (64, 8)).float().mean((0, 1))
    np.testing.assert_allclose(by_row, expected["visible_prob_per_freq_index"], atol=0.006)
    by_column = visible.unflatten(1, (64, 8)).float().mean((0, 2))
    np.testing.assert_allclose(by_column[:4], expected["visible_prob_first4_time_index"], atol=0.012)
    before = mask._blocks(4000, 64, 8, torch.device("cpu")).sum(1).float()
    assert float(before.mean()) == pytest.approx(expected["visible_before_adjust"]["mean"], abs=0.8)
    assert float(before.std()) == pytest.approx(expected["visible_before_adjust"]["std"], abs=0.6)


@pytest.mark.parametrize("kind", ["random", "time", "frequency", "inverse_blocks"])
def test_every_mask_hides_as_many_patches_and_is_drawn_from_the_seed(kind: str) -> None:
    mask = GridMask(kind, share=0.6, block=3)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(mask.draw(20, 10, 8, torch.device("cpu")))
    assert drawn[0].equal(drawn[1])
    assert len(set(drawn[0].sum(1).tolist())) == 1
    assert float(drawn[0].float().mean()) == pytest.approx(0.6, abs=0.05)
    assert len({tuple(row) for row in drawn[0].int().tolist()}) > 3
    visible = visible_patches(drawn[0])
    assert not drawn[0].gather(1, visible).any()


def test_parameters_are_those_of_the_paper() -> None:
    table = 6144 * 768  # of positions, which the official model holds as frozen weights
    with torch.device("meta"):
        base, large, cat = (
            PatchTransformer(**sizes).parameter_count()
            for sizes in ({}, {"hidden": 1024, "layers": 24, "heads": 16}, {"layers": 11, "resolutions": (4, 8, 16)})
        )
    assert base + table == 89_972_736
    assert large == 302_575_616
    assert cat + table == 93_493_376


def test_hugging_face_and_fine_tuned_keys_load_too(tmp_path: Path) -> None:
    student = official("eat", tmp_path).student
    state = {k: v for k, v in golden("eat", "state_dict").items() if "_ema" not in k and "decoder" not in k}
    fine_tuned = {f"model.{key}": value for key, value in state.items()} | {"model.head.weight": torch.zeros(3, 32)}
    hub = {
        "model." + key.replace("modality_encoders.IMAGE.", "").replace("context_encoder.norm", "pre_norm"): value
        for key, value in state.items()
    }
    for number, layout in enumerate((fine_tuned, hub)):
        save_file(layout, tmp_path / f"{number}.safetensors")
        again = PatchTransformer(heads=2, checkpoint=str(tmp_path / f"{number}.safetensors"))
        assert again.spec.options["hidden"] == 32
        assert all(again.state_dict()[key].equal(value) for key, value in student.state_dict().items())
    assert again.provenance is not None
    save_file({"blocks.0.norm1.weight": torch.zeros(3)}, tmp_path / "no.safetensors")
    with pytest.raises(UserError, match="no EAT or CAT encoder"):
        PatchTransformer(checkpoint=str(tmp_path / "no.safetensors"))


TINY: dict[str, Any] = {"hidden": 32, "layers": 2, "heads": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 30}, "a multiple of --student.heads"),
        ({"frames": 100}, "a multiple of the patch, 16"),
        ({"bands": 64}, "128 .EAT. or 80"),
        ({"norm": "both"}, "--student.norm 'both'"),
        ({"resolutions": (4, 6, 16)}, "multiples, each of the one before"),
        ({"resolutions": (4, 8, 16), "channels": (8,)}, "2 numbers are wanted"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PatchTransformer(**{**TINY, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clones": 0}, "--objective.clones 0"),
        ({"mask": {"share": 1.0}}, "must lie between 0 and 1"),
        ({"mask": {"kind": "stripes"}}, "mask.kind 'stripes'"),
        ({"decoder_kernel": 4}, "must be odd"),
        ({"layer": 3}, "the student has 2 blocks"),
        ({"distance": "far"}, "--objective.distance 'far'"),
    ],
)
def test_objectives_that_cannot_be_are_refused_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UtteranceFrame(PatchTransformer(**TINY), {}, **options)


def test_a_clip_shorter_than_a_patch_is_padded_to_one_and_a_mask_that_leaves_nothing_says_so() -> None:
    student = PatchTransformer(**TINY)
    assert student.embed(torch.randn(800), 16_000).frames.shape == (1, 1, 32)
    objective = UtteranceFrame(student, {}, clones=2, mask={"share": 0.95})
    with pytest.raises(UserError, match="leaves 0 of them visible"):
        objective(AudioBatch.of(torch.randn(2, 800), 16_000))


def test_dead_representations_stop_the_run_with_a_reason() -> None:
    student = PatchTransformer(**TINY)
    objective = UtteranceFrame(student, {}, clones=1).train()
    torch.nn.init.zeros_(objective.decoder.proj.weight)
    batch = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    objective.health.steps.fill_(100)
    with pytest.raises(UserError, match="collapse: the predictions have a deviation"):
        objective(batch)


def test_health_is_observed() -> None:
    objective = UtteranceFrame(PatchTransformer(**TINY), {}, clones=3).train()
    objective(AudioBatch.of(torch.randn(2, 16_000), 16_000))
    objective.after_step(1)
    seen = objective.observed
    assert seen["hidden_share"] == pytest.approx(0.8, abs=0.02)
    assert 1 <= seen["effective_rank"] <= 6
    assert seen["target_deviation"] > 0.5
    assert seen["moving_average"] == pytest.approx(0.9998)


def test_a_mean_over_clones_does_not_depend_on_how_many_there_are() -> None:
    """And a sum, as in the published code, does."""
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


def test_drop_path_leaves_blocks_out_in_training_only() -> None:
    student = PatchTransformer(**TINY, drop_path=0.9)
    tokens = torch.randn(16, 5, 32)
    student.train()
    assert not student.contextual(tokens).tokens.equal(student.contextual(tokens).tokens)
    student.eval()
    assert student.contextual(tokens).tokens.equal(student.contextual(tokens).tokens)
    assert [block.drop for block in student.blocks] == pytest.approx([0.0, 0.9])


def test_matpacs_block_is_plain_pre_norm() -> None:
    student = PatchTransformer(**TINY, norm="pre", bands=80).eval()
    tokens = torch.randn(2, 7, 32)
    x = torch.cat([student.first.expand(2, -1, -1), tokens], 1)
    for block in student.blocks:
        normed = F.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias, 1e-6)
        q, k, v = block.attn.qkv(normed).view(2, 8, 3, 2, 16).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / 4).softmax(3)
        x = x + block.attn.proj((weights @ v).transpose(1, 2).reshape(2, 8, 32))
        x = x + block.mlp(F.layer_norm(x, (32,), block.norm2.weight, block.norm2.bias, 1e-6))
    torch.testing.assert_close(student.contextual(tokens).tokens, student.last_norm(x))


def fine_tuned(folder: Path, **options: Any) -> PatchTransformer:
    inputs = golden("eat", "inputs")
    head = {"head.weight": inputs["ft.head.weight"], "head.bias": inputs["ft.head.bias"]}
    head |= {"fc_norm.weight": inputs["ft.fc_norm.weight"], "fc_norm.bias": inputs["ft.fc_norm.bias"]}
    state = {k: v for k, v in golden("eat", "state_dict").items() if "_ema" not in k and "decoder" not in k}
    save_file({f"model.{key}": value for key, value in (state | head).items()}, folder / "ft.safetensors")
    return PatchTransformer(heads=2, checkpoint=str(folder / "ft.safetensors"), **options)


def test_fine_tuned_logits_equal_the_official_ones(tmp_path: Path) -> None:
    student = fine_tuned(tmp_path, classes=7).eval()
    with torch.no_grad():
        encoded = student.contextual(student.embed_patches(source("eat"))).tokens
        assert student.head is not None
        close(student.head(encoded[:, 0]), golden("eat", "outputs")["ft_logits"])
        close(student.head(encoded[:, 1:].mean(1)), golden("eat", "outputs")["ft_logits_MEAN_POOLING"])
    other = fine_tuned(tmp_path, classes=3)  # a head for other classes begins anew
    assert other.head is not None
    assert other.head[1].weight.shape == (3, 32)
    assert "head.1.weight" in other.provenance.dropped


def test_fine_tuning_losses_equal_the_official_ones(tmp_path: Path) -> None:
    student, inputs = fine_tuned(tmp_path, classes=7).eval(), golden("eat", "inputs")
    with torch.no_grad():
        logits = student.head(student.contextual(student.embed_patches(source("eat"))).tokens[:, 0])

    class Says(Student):
        sample_rate = 16_000

        def encode(self, batch: AudioBatch) -> Embeddings:
            return Embeddings.of_clip(logits)._replace(logits=logits)

    def loss(labels: Tensor, **options: Any) -> float:
        batch = replace(AudioBatch.of(torch.randn(2, 800), 16_000), labels=labels.float())
        return float(Classification(Says(), **options).train()(batch)["classification"])

    sums = scalars("eat")
    binary = loss(inputs["labels_multi"]) * logits.numel()
    assert binary == pytest.approx(sums["ft_as_bce_sum"], rel=1e-5)
    smooth = loss(inputs["labels_single"], smoothing=0.1) * 2
    assert smooth == pytest.approx(sums["ft_esc_ce_ls0.1_sum(train)"], rel=1e-5)
    spoken = loss(inputs["labels_single"], loss="binary") * logits.numel()
    assert spoken == pytest.approx(sums["ft_spc_bce_sum(eval)"], rel=1e-5)
    with pytest.raises(UserError, match="use binary"):
        loss(inputs["labels_multi"], loss="cross_entropy")


def test_the_rate_falls_with_depth_as_in_the_official_code() -> None:
    student = PatchTransformer(**TINY, classes=3)
    groups = parameter_groups(Classification(student), Optimizer(learning_rate=1.0, layer_decay=0.65))
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    official = json.loads((GOLDEN / "eat" / "finetune_param_overrides.json").read_text())["overrides_per_param"]
    scales = {key.removeprefix("model."): entry.get("lr_scale", 1.0) for key, entry in official.items()}
    for name, parameter in student.named_parameters():
        if name.startswith("blocks."):
            assert rate[id(parameter)] == pytest.approx(scales[name])
        else:
            assert rate[id(parameter)] == 1.0
    assert len(rate) == len(list(student.parameters()))
    assert all(group["weight_decay"] == 0 for group in groups for parameter in group["params"] if parameter.dim() == 1)


def test_spec_augment_blanks_runs_in_training_only() -> None:
    torch.manual_seed(0)
    left = blanked(torch.ones(200, 60, 40), 0.4)
    spectra, bands = left.amax(2) == 0, left.amax(1) == 0
    for hidden, size in ((spectra, 60), (bands, 40)):
        counts = hidden.sum(1)
        assert int(counts.max()) <= 0.4 * size + 1
        assert 0.15 * size < float(counts.float().mean()) < 0.25 * size
        edges = hidden.int().diff(dim=1).clamp(min=0).sum(1) + hidden[:, 0].int()
        assert int(edges.max()) <= 1  # one run
    student = PatchTransformer(**TINY, spec_augment=0.5)
    clip = torch.randn(16_000)
    assert student.embed(clip, 16_000).clip.equal(student.embed(clip, 16_000).clip)
    batch = AudioBatch.of(clip, 16_000)
    assert not student.train()(batch).clip.equal(student(batch).clip)


def test_fine_tuning_begins_from_a_run_and_makes_a_head(sounds: Callable[..., Path], tmp_path: Path) -> None:
    save_student(PatchTransformer(**TINY).eval(), tmp_path / "pre" / "student", "card")
    rows = ["path,label,split"]
    folder = sounds(8, seconds=0.5)
    for number, path in enumerate(sorted(folder.rglob("*.wav"))):
        rows.append(f"{path.relative_to(folder)},{'ab'[number % 2]},training")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    student = distill.fit(
        student={"class_path": "patch_transformer", "init_args": TINY}, data=str(folder / "labels.csv"),
        objective={"class_path": "classification", "init_args": {"augmentation": {"mixup": 0.8}}},
        init_from=str(tmp_path / "pre"), out=str(tmp_path / "run"), epochs=1, batch_size=4, validation=0.0,
        optimizer={"layer_decay": 0.65, "betas": [0.9, 0.95]}, engine={"workers": 0, "accelerator": "cpu"},
    )  # fmt: skip
    assert student is not None
    assert student.embed(torch.randn(8000), 16_000).logits.shape == (1, 2)
