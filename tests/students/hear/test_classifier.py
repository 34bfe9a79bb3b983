"""The whole of HEAR against the official code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch
from distill.students.hear.classifier import HearClassifier, pool_statistics
from distill.students.hear.students import Hear
from distill.students.saved import load_student, save_student
from tests.conftest import GOLDEN
from tests.students.hear.golden import (
    OVERLAP,
    TINY,
    assert_close,
    assert_matches,
    inputs,
    official_weights,
    outputs,
    padded_batch,
    waveform,
)
from tests.students.hear.tiny import SIZES

TINY_OPTIONS: dict[str, dict[str, Any]] = {
    "hear_classifier": {
        **SIZES, "classes": 3, "task_hidden": 12, "task_intermediate": 24, "head_hidden": 8, "positions": 400,
        "head_dropout": 0.0,
    },
}  # fmt: skip


def test_mixture_task_model_and_head(classifier: HearClassifier) -> None:
    assert_close(classifier.mixture(inputs()["mix.h"], inputs()["mix.power"]), "mix.out", atol=1e-5)
    lengths = inputs()["task.lengths"].long()
    inside = torch.arange(33) < lengths.unsqueeze(1)
    found = classifier.task(inputs()["task.x"], lengths)
    torch.testing.assert_close(found[inside], outputs()["task.out"][inside], atol=1e-5, rtol=1e-4)
    pooled = pool_statistics(inputs()["task.x"], inside)
    assert_close(pooled, "head.pooled", atol=1e-5)
    assert_close(classifier.head(pooled), "head.logits", atol=1e-5)


@pytest.mark.parametrize("name", ["short", "long"])
def test_the_whole_model(name: str, classifier: HearClassifier) -> None:
    batch = AudioBatch.of(waveform(f"wave_{name}"), 16_000, inputs()[f"len_{name}"])
    embeddings = classifier(batch)
    assert_close(embeddings.logits, f"full.{name}.logits")
    if name == "long":
        assert_close(embeddings.clip, "full.long.pooled")
        return
    loss = F.cross_entropy(classifier(batch).logits, inputs()["labels"])
    assert_close(loss, "full.short.ce")
    loss.backward()
    gradients = {key: t for key, t in outputs().items() if key.startswith("full.grad_norm.")}
    copy = HearClassifier(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP)
    for ours, parameter in classifier.named_parameters():
        copy.get_parameter(ours).data = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
    for key, gradient in copy.official_state().items():
        if f"full.grad_norm.{key}" in gradients:
            expected = gradients[f"full.grad_norm.{key}"]
            torch.testing.assert_close(gradient.norm(), expected.float(), atol=2e-6, rtol=1e-3)
    assert len(gradients) > 60


def test_the_published_sizes() -> None:
    """Test the whole model at its default sizes, with regenerated weights and a padded batch of up to 10 s."""
    keys = json.loads((GOLDEN / "hear" / "default" / "info.json").read_text())["keys"]["hear"]
    state = official_weights(keys, rename=("acoustic_model.", "encoder."))
    model = HearClassifier(classes=50, official=True).eval()
    assert model.parameter_count() == 15_097_394
    model._load(state, whole=True, where="golden")
    wave, lengths = padded_batch([1000, 1001, 1002], [160_000, 117_000, 51_234])
    with torch.no_grad():
        spectra = model.front_end(wave, lengths, power=True)
        assert_matches("pre.mel", spectra.mel, 1e-3)
        logits = model(AudioBatch.of(wave, 16_000, lengths)).logits
    torch.testing.assert_close(logits, outputs("default")["logits"], atol=1e-4, rtol=1e-4)
    alone = model.embed(wave[2, :51_234], 16_000).logits[0]
    torch.testing.assert_close(alone, outputs("default")["logits_row2_alone"].flatten(), atol=1e-4, rtol=1e-4)


def test_padding_has_an_effect_in_the_official_code_only() -> None:
    wave, lengths = padded_batch([1, 2], [16_000, 5_000])
    for official, limit in ((False, 1e-4), (True, None)):
        student = HearClassifier(
            checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP, official=official
        )
        together = student.embed(wave, 16_000, lengths)
        alone = student.embed(wave[1, :5000], 16_000)
        difference = float((together.logits[1] - alone.logits[0]).detach().abs().max())
        assert difference < limit if limit else difference > 1e-2


def test_a_classifier_starts_from_an_acoustic_model(tmp_path: Path) -> None:
    hear = distill.create_student("hear", hidden=16, intermediate=32, heads=2, layers=1, window=40, overlap=10)
    save_student(hear, tmp_path / "run" / "student", "card")
    classifier = distill.create_student(
        "hear_classifier", classes=3, acoustic=str(tmp_path / "run"), task_hidden=16, overlap=10
    )
    assert all(
        tensor.equal(classifier.acoustic.state_dict()[key]) for key, tensor in hear.acoustic.state_dict().items()
    )
    save_student(classifier, tmp_path / "whole" / "student", "card")
    (tmp_path / "run" / "student" / "model.safetensors").unlink()
    assert load_student(tmp_path / "whole").parameter_count() == classifier.parameter_count()
    save_file(hear.official_state(), tmp_path / "acoustic_model_weight.safetensors")
    again = Hear(checkpoint=str(tmp_path / "acoustic_model_weight.safetensors"), overlap=10)
    assert all(tensor.equal(again.state_dict()[key]) for key, tensor in hear.state_dict().items())
