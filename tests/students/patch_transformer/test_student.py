"""The patch transformer against the official code of EAT and CAT, and the errors that users can meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.objectives.classification import Classification
from distill.students.patch_transformer.blocks import positions
from distill.students.patch_transformer.student import PatchTransformer, blank_spans
from distill.students.saved import save_student
from distill.students.student import Student
from distill.training.optimizer import Optimizer, parameter_groups
from tests.conftest import GOLDEN
from tests.students.patch_transformer.golden import assert_close, golden, official_objective, scalars, source
from tests.students.patch_transformer.test_official import fine_tuned

TINY_OPTIONS: dict[str, dict[str, Any]] = {"patch_transformer": {"hidden": 16, "layers": 2, "heads": 2}}


def test_eats_encoder_equals_the_official_one(tmp_path: Path) -> None:
    student, expected = official_objective("eat", tmp_path).student.eval(), golden("eat", "outputs")
    with torch.no_grad():
        assert_close(student.patches(source("eat")), expected["patch_embed"])
        assert_close(student.contextual(student.embed_patches(source("eat"))).tokens, expected["features_all"])


def test_cats_encoder_equals_the_official_one_at_any_length(tmp_path: Path) -> None:
    student, expected = official_objective("cat", tmp_path).student.eval(), golden("cat", "outputs")
    with torch.no_grad():
        assert_close(student.patches(source("cat")[:1]), expected["mrb_unmasked"])
        short = student.contextual(student.embed_patches(source("cat")[:1, :256])).tokens
        assert_close(short, expected["features_short_T256"])
        shown = (1 - golden("cat", "inputs")["mask"].float()).unflatten(1, (64, 8))
        masked = student.patches(source("cat").repeat_interleave(2, 0), shown)
        assert_close(masked[: len(expected["mrb_masked"])], expected["mrb_masked"])


def test_positions_and_front_end_equal_the_official_ones() -> None:
    expected = golden("eat", "outputs")
    rows = scalars("eat")["pos768_row_indices"]
    assert_close(positions(768, 8, 768)[rows], expected["pos768_rows"], 1e-4)
    student = PatchTransformer(hidden=32, layers=1, heads=2, frames=160)
    spectrogram, _ = student.spectrogram(AudioBatch.of(golden("eat", "inputs")["wav16k"], 16_000))
    assert_close(spectrogram, expected["fbank_padded160_normalised_as"], 1e-4)


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


TINY: dict[str, Any] = {"hidden": 32, "layers": 2, "heads": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 30}, "a multiple of --student.heads"),
        ({"frames": 100}, "a multiple of the patch, 16"),
        ({"bands": 64}, "128 .EAT. or 80"),
        ({"norm": "both"}, "--student.norm 'both'"),
        ({"resolutions": (4, 6, 16)}, "must be growing multiples"),
        ({"resolutions": (4, 8, 16), "channels": (8,)}, "must have 2 numbers"),
        ({"resolutions": (2, 4, 8, 16, 32)}, "must have 4 numbers"),
        ({"resolutions": (0, 4)}, "must be growing multiples"),
        ({"resolutions": (16, 48)}, "must divide --student.bands 128"),
        ({"resolutions": (4, 8), "frames": 100}, "a multiple of the patch, 8"),
    ],
)
def test_invalid_options_are_refused_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PatchTransformer(**{**TINY, **options})


@pytest.mark.parametrize(
    ("sides", "channels"),
    [((4,), ()), ((8,), ()), ((4, 8), (384,)), ((4, 8, 16), (256, 384)), ((4, 8, 16, 32), (256, 384, 768))],
)
def test_every_published_resolution_has_tokens_of_its_last_patch(
    sides: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    student, side = PatchTransformer(**TINY, resolutions=sides).eval(), sides[-1]
    assert tuple(len(blocks[0].norm1.weight) for blocks in student.patches.conv_blocks) == channels
    embeddings = student.embed(torch.randn(2, 16_000), 16_000)
    columns = -(-98 // side)  # Kaldi gives 98 spectra for a second
    assert embeddings.frames.shape == (2, columns, 32)
    assert student.embed_patches(torch.randn(1, 64, 128)).shape == (1, 64 // side * 128 // side, 32)
    centres = [0.0125 + 0.01 * (side * column + (side - 1) / 2) for column in range(columns)]
    assert embeddings.frame_times.tolist() == pytest.approx(centres)


@pytest.mark.parametrize("sides", [(4,), (4, 8), (4, 8, 16, 32)])
def test_hidden_patches_of_any_resolution_do_not_change_visible_tokens(sides: tuple[int, ...]) -> None:
    student, side = PatchTransformer(**TINY, resolutions=sides, channels=(8, 12, 16)[: len(sides) - 1]), sides[-1]
    shape = (1, 128 // side, 128 // side)
    visible = (torch.rand(shape) < 0.5).float()
    hidden = (1 - visible).repeat_interleave(side, 1).repeat_interleave(side, 2).bool()
    spectrogram = torch.randn(1, 128, 128)
    changed = torch.where(hidden, torch.randn(1, 128, 128), spectrogram)
    shown = visible.flatten().bool()
    with torch.no_grad():
        tokens = [student.embed_patches(clip, visible)[0, shown] for clip in (spectrogram, changed)]
    torch.testing.assert_close(*tokens, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{}, {"resolutions": (4, 8, 16), "channels": (8, 12)}, {"bands": 80}])
def test_a_clip_in_a_padded_batch_is_that_of_the_clip_alone(options: dict[str, Any]) -> None:
    student, lengths = PatchTransformer(**TINY, **options).eval(), [30_000, 17_001, 4_000]  # with a part of a column
    waveform = torch.randn(3, 30_000)
    together = student.embed(waveform, 16_000, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = student.embed(waveform[row, :length], 16_000)
        columns = alone.frames.shape[1]
        assert int(together.frame_mask[row].sum()) == columns
        torch.testing.assert_close(together.clip[row], alone.clip[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.frames[row, :columns], alone.frames[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_long_clip_is_encoded_in_windows_of_10_s(training: bool) -> None:
    student, waveform = PatchTransformer(**TINY).train(training), torch.randn(2, 25 * 16_000)
    found = student(AudioBatch.of(waveform, 16_000, torch.tensor([25 * 16_000, 16_000])))
    parts = [student(AudioBatch.of(waveform[:1, start : start + 160_000], 16_000)) for start in (0, 160_000, 320_000)]
    mean = (2 * parts[0].clip + 2 * parts[1].clip + parts[2].clip) / 5
    torch.testing.assert_close(found.clip[:1], mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.frames[:1, :62], parts[0].frames[:, :62], atol=1e-5, rtol=1e-5)
    alone = student(AudioBatch.of(waveform[1:, :16_000], 16_000))
    torch.testing.assert_close(found.clip[1:], alone.clip, atol=1e-5, rtol=1e-5)
    assert found.clip.requires_grad


def test_no_block_attends_to_more_than_a_window_unless_the_input_is_fixed() -> None:
    seen: list[int] = []
    for frames in (0, 1040):
        student = PatchTransformer(**TINY, frames=frames).eval()
        student.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape[1]))
        student.embed(torch.randn(11 * 16_000), 16_000)
    assert set(seen) == {1 + 63 * 8, 1 + 7 * 8, 1 + 65 * 8}  # 10 s, the last second; 1040 spectra


@pytest.mark.parametrize("objective", ["utterance_frame", "latent_prediction"])
def test_masked_objectives_refuse_clips_that_are_longer_than_a_window(objective: str) -> None:
    student, clips = PatchTransformer(**TINY), AudioBatch.of(torch.zeros(1, 161_000), 16_000)
    built = OBJECTIVES.create(objective, student=student, **({"teachers": {}} if objective[0] == "u" else {}))
    with pytest.raises(UserError, match=r"clips of 10\.1 s are longer than a window, 10 s: use --crop\.seconds 10"):
        built(clips)


def test_drop_path_drops_blocks_in_training_only() -> None:
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


def test_fine_tuning_losses_equal_the_official_ones(tmp_path: Path) -> None:
    student, inputs = fine_tuned(tmp_path, classes=7).eval(), golden("eat", "inputs")
    with torch.no_grad():
        logits = student.head(student.contextual(student.embed_patches(source("eat"))).tokens[:, 0])

    class FixedLogits(Student):
        sample_rate = 16_000

        def encode(self, batch: AudioBatch) -> Embeddings:
            return Embeddings.of_clip(logits)._replace(logits=logits)

    def loss(labels: Tensor, **options: Any) -> float:
        batch = replace(AudioBatch.of(torch.randn(2, 800), 16_000), labels=labels.float())
        return float(Classification(FixedLogits(), **options).train()(batch)["classification"])

    sums = scalars("eat")
    binary = loss(inputs["labels_multi"]) * logits.numel()
    assert binary == pytest.approx(sums["ft_as_bce_sum"], rel=1e-5)
    smooth = loss(inputs["labels_single"], smoothing=0.1) * 2
    assert smooth == pytest.approx(sums["ft_esc_ce_ls0.1_sum(train)"], rel=1e-5)
    spoken = loss(inputs["labels_single"], loss="binary") * logits.numel()
    assert spoken == pytest.approx(sums["ft_spc_bce_sum(eval)"], rel=1e-5)
    with pytest.raises(UserError, match="use binary"):
        loss(inputs["labels_multi"], loss="cross_entropy")


def test_layer_decay_equals_the_official_one() -> None:
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


def test_spec_augment_blanks_spans_in_training_only() -> None:
    torch.manual_seed(0)
    left = blank_spans(torch.ones(200, 60, 40), 0.4)
    spectra, bands = left.amax(2) == 0, left.amax(1) == 0
    for hidden, size in ((spectra, 60), (bands, 40)):
        counts = hidden.sum(1)
        assert int(counts.max()) <= 0.4 * size + 1
        assert 0.15 * size < float(counts.float().mean()) < 0.25 * size
        edges = hidden.int().diff(dim=1).clamp(min=0).sum(1) + hidden[:, 0].int()
        assert int(edges.max()) <= 1  # one span
    student = PatchTransformer(**TINY, spec_augment=0.5)
    clip = torch.randn(16_000)
    assert student.embed(clip, 16_000).clip.equal(student.embed(clip, 16_000).clip)
    batch = AudioBatch.of(clip, 16_000)
    assert not student.train()(batch).clip.equal(student(batch).clip)


def test_fine_tuning_starts_from_a_run_and_builds_a_head(sounds: Callable[..., Path], tmp_path: Path) -> None:
    save_student(distill.create_student("patch_transformer", **TINY), tmp_path / "pre" / "student", "card")
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
