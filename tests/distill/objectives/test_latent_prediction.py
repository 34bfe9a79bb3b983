"""MATPAC's objective against its formulas, patch by patch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.objectives.latent_prediction import LatentPrediction
from distill.students.patch_transformer.student import PatchTransformer

TINY: dict[str, Any] = {"hidden": 16, "layers": 2, "heads": 2, "norm": "pre", "bands": 80}
HEAD: dict[str, Any] = {"classes": 12, "head_hidden": 8, "predictor_layers": 1, "predictor_heads": 2}


def objective(**options: Any) -> LatentPrediction:
    return LatentPrediction(PatchTransformer(**TINY), **{**HEAD, **options})


@torch.no_grad()
@pytest.mark.parametrize("hypotheses", [1, 3])
def test_losses_equal_their_formulas_patch_by_patch(hypotheses: int) -> None:
    made = objective(hypotheses=hypotheses, others=0.1)
    made.centre.copy_(torch.randn(12))
    predicted, target = torch.randn(2, hypotheses, 5, 16), torch.randn(2, 5, 16)
    logits = torch.randn(2, 5, 12)
    losses = made.score(predicted, target, logits)
    prediction, classification = [], []
    for clip in range(2):
        for patch in range(5):
            goal = target[clip, patch] / target[clip, patch].norm()
            target_classes = torch.exp((logits[clip, patch] - made.centre) / 0.04)
            target_classes = target_classes / target_classes.sum()
            found = []
            for guess in predicted[clip, :, patch]:
                chances = torch.exp(made.head(guess) / 0.1)
                cross_entropy = -(target_classes * torch.log(chances / chances.sum())).sum()
                found.append((float((guess / guess.norm() - goal).square().sum()), float(cross_entropy)))
            nearest = min(range(hypotheses), key=lambda number: found[number][0])
            rest = 0.1 / (hypotheses - 1) if hypotheses > 1 else 0.0
            shares = [(1 - 0.1 if hypotheses > 1 else 1.0) if n == nearest else rest for n in range(hypotheses)]
            prediction.append(sum(share * pair[0] for share, pair in zip(shares, found, strict=True)))
            classification.append(sum(share * pair[1] for share, pair in zip(shares, found, strict=True)))
    assert float(losses["prediction"]) == pytest.approx(sum(prediction) / 10, rel=1e-5)
    assert float(losses["classification"]) == pytest.approx(sum(classification) / 10, rel=1e-5)


def test_student_and_moving_average_encode_disjoint_patches_and_only_the_student_has_gradients() -> None:
    made = objective().train()
    encoded: list[torch.Tensor] = []
    encode = made.encode
    made.encode = lambda network, spectrogram, patches: (
        encoded.append(patches),
        encode(network, spectrogram, patches),
    )[1]
    losses = made(AudioBatch.of(torch.randn(2, 32_000), 16_000))
    made.total(losses).backward()
    for mine, theirs in zip(*encoded, strict=True):
        assert not set(mine.tolist()) & set(theirs.tolist())
        assert len(mine) + len(theirs) == 13 * 5
    assert all(parameter.grad is not None for parameter in made.student.parameters())
    assert all(parameter.grad is None for parameter in (*made.slow.parameters(), *made.slow_head.parameters()))
    before = made.slow.network.first.clone()
    with torch.no_grad():
        made.student.first.add_(1.0)
    made.after_step(1)
    moved = made.slow.network.first - before
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - made.slow.decay(1)), rtol=0.02, atol=1e-6)


def test_the_centre_changes_in_training_only() -> None:
    made = objective(centre_decay=0.0)
    batch = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    made.eval()(batch)
    assert not made.centre.any()
    made.train()(batch)
    assert made.centre.any()
    assert made.observed["pseudo_classes"] >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hypotheses": 0}, "hypotheses at least 1"),
        ({"teacher_temperature": 0.0}, "temperatures must be above 0"),
        ({"predictor_heads": 3}, "must divide the student's width"),
        ({"mask": {"share": 0.0}}, "must lie between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        objective(**options)
    with pytest.raises(UserError, match="plain patches"):
        LatentPrediction(PatchTransformer(hidden=16, heads=2, layers=1, resolutions=(4, 8, 16), channels=(8, 8)))


SELF_SUPERVISED = [
    {"class_path": "latent_prediction", "init_args": {**HEAD, "hypotheses": 2}},
    {"class_path": "utterance_frame", "init_args": {"clones": 2, "decoder_groups": 4}},
]


@pytest.mark.parametrize("chosen", SELF_SUPERVISED, ids=lambda chosen: chosen["class_path"])
@pytest.mark.parametrize("teachers", [None, "spectral"])
def test_self_supervised_objectives_train_and_resume(
    chosen: dict[str, Any], teachers: str | None, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    if teachers and chosen["class_path"] == "latent_prediction":
        with pytest.raises(UserError, match="takes no teacher"):
            distill.fit(teacher=teachers, student="patch_transformer", data=str(sounds(6)), out=str(tmp_path / "x"),
                        objective=chosen)  # fmt: skip
        return
    data = sounds(10, seconds=1.0)
    student = {"class_path": "patch_transformer", "init_args": {**TINY, "bands": 128, "norm": "post"}}
    if chosen["class_path"] == "latent_prediction":
        student["init_args"] = TINY
    settings: dict[str, Any] = {
        "teacher": teachers, "student": student, "data": str(data), "objective": chosen, "batch_size": 4,
        "validation": 0.0, "engine": {"workers": 0, "accelerator": "cpu"},
        "optimizer": {"schedule": "constant", "warmup": 0.0},
    }  # fmt: skip
    whole = distill.fit(out=str(tmp_path / "whole"), epochs=2, **settings)
    distill.fit(out=str(tmp_path / "parts"), epochs=1, **settings)
    parts = distill.fit(out=str(tmp_path / "parts"), epochs=2, resume=True, **settings)
    assert whole is not None
    assert parts is not None
    assert all(parts.state_dict()[key].equal(tensor) for key, tensor in whole.state_dict().items())
    embedded = whole.embed(torch.randn(20_000), 16_000)
    assert embedded.clip.shape == (1, 16)
    assert (tmp_path / "whole" / "report" / "observed.png").exists()
