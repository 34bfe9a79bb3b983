"""Labels in the objective `classification`: labels that were not annotated, labels of mixed clips, and the loss."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.objectives.classification import Classification
from distill.objectives.embedding import EmbeddingDistillation
from distill.objectives.parts.augmentation import draw_mixup
from distill.students import STUDENTS
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier, Head
from distill.students.student import Student
from tests.own_parts import TinyConvolution
from tests.students.tiny import STUDENT_NAMES, tiny_options

UNKNOWN = float("nan")


class FixedLogits(Student):
    """A student whose logits do not depend on its input."""

    sample_rate = 16_000

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(self.logits)._replace(logits=self.logits)


def labelled(labels: list[list[float]]) -> AudioBatch:
    return replace(AudioBatch.of(torch.randn(len(labels), 800), 16_000), labels=torch.tensor(labels))


def test_a_label_that_was_not_annotated_has_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[1.5, 3.0, -0.5], [-2.0, 0.5, 1.0]])
    batch = labelled([[1.0, UNKNOWN, 0.0], [UNKNOWN, 1.0, UNKNOWN]])
    student = FixedLogits(logits)
    loss = Classification(student)(batch)["classification"]
    known = F.softplus(torch.tensor([-1.5, -0.5, -0.5]))  # minus the logit of a present label, or an absent one's logit
    torch.testing.assert_close(loss, known.mean())
    loss.backward()
    gradient = student.logits.grad
    assert gradient is not None
    assert (gradient != 0).tolist() == [[True, False, True], [False, True, False]]


def test_an_absent_label_has_a_loss_unlike_one_that_was_not_annotated() -> None:
    logits = torch.tensor([[1.5, 3.0], [-2.0, 0.5]])
    unknown = Classification(FixedLogits(logits))(labelled([[1.0, UNKNOWN], [0.0, 1.0]]))["classification"]
    absent = Classification(FixedLogits(logits), loss="binary")(labelled([[1.0, 0.0], [0.0, 1.0]]))["classification"]
    torch.testing.assert_close(absent * 4, unknown * 3 + F.softplus(torch.tensor(3.0)))


def test_mixed_clips_have_mixed_labels() -> None:
    logits = torch.randn(5, 5)
    batch = labelled(torch.eye(5).tolist())
    for loss, measure in (("cross_entropy", F.cross_entropy), ("binary", F.binary_cross_entropy_with_logits)):
        objective = Classification(FixedLogits(logits), {"mixup": 1.0}, loss=loss)
        torch.manual_seed(5)
        trained = objective.train()(batch)["classification"]
        torch.manual_seed(5)
        partners, shares = draw_mixup(5, 1.0)
        own, other = batch.labels, batch.labels[partners]
        expected = measure(logits, shares.unsqueeze(1) * own + (1 - shares).unsqueeze(1) * other)
        torch.testing.assert_close(trained, expected)
        watched = objective.eval()(batch)["classification"]
        torch.testing.assert_close(watched, measure(logits, own))
        assert not torch.allclose(trained, watched, atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "loss"),
    [
        ([("a",), ("b",)], "cross_entropy"),
        ([("a",), ("a", "b")], "binary"),
        ([("a",), ()], "binary"),
    ],
)
def test_auto_becomes_the_loss_that_fits_the_labels(rows: list[tuple[str, ...]], loss: str) -> None:
    manifest = Manifest(Path("x"), tuple(Row(str(n), Path(str(n)), labels=labels) for n, labels in enumerate(rows)))
    for options in ({}, {"loss": "auto"}):
        assert Classification.options_for({**options, "smoothing": 0.1}, manifest) == {"smoothing": 0.1, "loss": loss}
    assert Classification.options_for({"loss": "binary"}, manifest) == {"loss": "binary"}
    assert EmbeddingDistillation.options_for({"loss": "mse"}, manifest) == {"loss": "mse"}


def test_one_label_of_which_the_others_are_not_annotated_is_binary() -> None:
    manifest = Manifest(Path("x"), (Row("1", Path("1"), labels=("a",), annotated=("a", "b")),))
    assert Classification.options_for({}, manifest) == {"loss": "binary"}


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_an_objective_takes_teachers_if_its_constructor_has_them(name: str) -> None:
    objective: Any = OBJECTIVES.find(name)
    assert objective.takes_teachers == ("teachers" in inspect.signature(objective).parameters)


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_every_student_learns_classes(name: str) -> None:
    student = distill.create_student(name, **{**tiny_options(name), **({"classes": 3} if takes_classes(name) else {})})
    student.labels = ("a", "b", "c")
    objective = Classification(student, loss="cross_entropy")
    batch = replace(AudioBatch.of(torch.randn(3, 32_000) * 0.1, student.sample_rate), labels=torch.eye(3))
    objective(batch)["classification"].backward()
    assert any(weight.grad is not None and bool((weight.grad != 0).any()) for weight in student.parameters())
    assert (objective.head is None) == takes_classes(name)
    assert student.classifier is not None
    logits = student.eval()(batch).logits
    assert logits.shape == (3, 3)
    expected = F.cross_entropy(logits, batch.labels)
    torch.testing.assert_close(objective.eval()(batch)["classification"], expected)


def takes_classes(name: str) -> bool:
    kind: Any = STUDENTS.find(name)
    return kind.takes_classes


def test_a_student_without_logits_needs_names_of_classes() -> None:
    with pytest.raises(UserError, match="name its classes"):
        Classification(TinyConvolution())


def test_the_loss_decides_what_probabilities_are() -> None:
    for loss, kind in (("cross_entropy", ONE_OF), ("binary", MANY)):
        student = Classification(FixedLogits(torch.randn(2, 2)), loss=loss).student
        assert student.classifier is not None
        assert student.classifier.as_config() == Classifier(kind).as_config()


def test_training_starts_from_the_head_of_the_student() -> None:
    student = TinyConvolution()
    head = Head(8, 2)
    student.labels, student.classifier = ("a", "b"), Classifier(MANY, head, 3.0, (0.1, 0.2))
    objective = Classification(student)
    assert objective.head is head
    assert {name for name, _ in objective.named_parameters()} > {"head.linear.weight", "student.convolution.weight"}
    assert student.classifier.as_config() == Classifier(ONE_OF).as_config()  # its calibration would change the loss
