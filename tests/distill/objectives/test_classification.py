"""Labels as the objective counts them: those that nobody was asked about, and those of mixed clips."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch, Embeddings
from distill.objectives.classification import Classification
from distill.objectives.parts.augmentation import draw_mixup
from distill.students.student import Student

UNKNOWN = float("nan")


class Says(Student):
    """Gives the logits that it was made with, whatever it hears."""

    sample_rate = 16_000

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(self.logits)._replace(logits=self.logits)


def labelled(labels: list[list[float]]) -> AudioBatch:
    return replace(AudioBatch.of(torch.randn(len(labels), 800), 16_000), labels=torch.tensor(labels))


def test_labels_that_nobody_was_asked_about_count_nowhere() -> None:
    logits = torch.tensor([[1.5, 3.0, -0.5], [-2.0, 0.5, 1.0]])
    batch = labelled([[1.0, UNKNOWN, 0.0], [UNKNOWN, 1.0, UNKNOWN]])
    student = Says(logits)
    loss = Classification(student)(batch)["classification"]
    known = F.softplus(
        torch.tensor([-1.5, -0.5, -0.5])
    )  # of a label that is there with its logit, or not with minus it
    torch.testing.assert_close(loss, known.mean())
    loss.backward()
    gradient = student.logits.grad
    assert gradient is not None
    assert (gradient != 0).tolist() == [[True, False, True], [False, True, False]]


def test_a_label_that_is_known_to_be_absent_counts_as_one_that_is_not() -> None:
    logits = torch.tensor([[1.5, 3.0], [-2.0, 0.5]])
    unknown = Classification(Says(logits))(labelled([[1.0, UNKNOWN], [0.0, 1.0]]))["classification"]
    absent = Classification(Says(logits), loss="binary")(labelled([[1.0, 0.0], [0.0, 1.0]]))["classification"]
    torch.testing.assert_close(absent * 4, unknown * 3 + F.softplus(torch.tensor(3.0)))


def test_mixed_clips_are_compared_with_mixed_labels() -> None:
    logits = torch.randn(5, 5)
    batch = labelled(torch.eye(5).tolist())
    for loss, measure in (("cross_entropy", F.cross_entropy), ("binary", F.binary_cross_entropy_with_logits)):
        objective = Classification(Says(logits), {"mixup": 1.0}, loss=loss)
        torch.manual_seed(5)
        trained = objective.train()(batch)["classification"]
        torch.manual_seed(5)
        partners, shares = draw_mixup(5, 1.0, torch.device("cpu"))
        own, other = batch.labels, batch.labels[partners]
        expected = measure(logits, shares.unsqueeze(1) * own + (1 - shares).unsqueeze(1) * other)
        torch.testing.assert_close(trained, expected)
        watched = objective.eval()(batch)["classification"]
        torch.testing.assert_close(watched, measure(logits, own))
        assert not torch.allclose(trained, watched, atol=1e-3)
