"""Zero-shot classification by a student in the space of a teacher that embeds texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.run.zero_shot import student_of_texts
from tests.distill.commands.test_fit import fit
from tests.distill.commands.test_search import NAME


@pytest.fixture
def run(sounds: Callable[..., Path], tmp_path: Path) -> str:
    fit(sounds(12), tmp_path / "run", teacher=NAME, epochs=2, validation=0)
    return str(tmp_path / "run")


def test_logits_are_cosines_with_the_texts_of_the_classes(run: str) -> None:
    student = student_of_texts(run, "Described", ["high", "low"], "{}")
    waveform = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    found = student.embed(waveform, 16_000)
    texts = distill.create_teacher(NAME).embed_texts(["high", "low"])
    mapped = student.embed(waveform, 16_000, space="Described").clip
    expected = torch.cosine_similarity(mapped[:, None], texts[None], dim=2) / 0.07
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
    assert student.labels == ("high", "low")


def test_evaluate_scores_the_classes_of_the_data_as_texts(run: str, tmp_path: Path) -> None:
    data = tmp_path / "sounds"
    for old, new in (("class0", "low"), ("class1", "high")):
        (data / old).rename(data / new)
    result = distill.evaluate(run, str(data), space="Described", prompt="{}", device="cpu", workers=0)
    student = student_of_texts(run, "Described", ["high", "low"], "{}")
    paths = sorted(data.rglob("*.wav"))
    hits = [student.labels[int(student.embed_file(path).logits.argmax())] == path.parent.name for path in paths]
    assert result.metrics["accuracy"] == pytest.approx(sum(hits) / len(hits))
    assert result.model.endswith("zero-shot by Described")


def test_what_cannot_be_classified_by_texts_is_one_line(run: str) -> None:
    with pytest.raises(UserError, match=r"--prompt 'a sound': must have \{\}"):
        student_of_texts(run, "Described", ["low"], "a sound")
    with pytest.raises(UserError, match="--space clap: the student does not answer in this space; it has Described"):
        student_of_texts(run, "clap", ["low"], "{}")
