"""One teacher of a distillation: the state of earlier versions, and rows without a pair."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import distill
from distill.losses import build_loss
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.imitation import Imitation, build_projector
from tests.own_parts import Loudness


def imitation(loss: str = "mse", targets: str = "standardised") -> Imitation:
    return Imitation(Loudness(), build_projector("linear", 4, 3, 0, 0.0), build_loss(loss), None, targets)


def test_the_state_of_an_earlier_version_loads() -> None:
    older, newer = imitation(), imitation()
    clip = [distill.Embeddings.of_clip(torch.randn(6, size)) for size in (4, 3)]
    older(*clip)
    state = {name: value for name, value in older.state_dict().items() if not name.startswith("yardstick")}
    newer.load_state_dict(state)
    assert newer.yardstick.constant is not None
    assert newer.yardstick.constant.count == 0
    assert newer.normalise is not None
    assert older.normalise is not None
    assert newer.normalise.mean.equal(older.normalise.mean)
    newer.load_state_dict(older.state_dict())
    assert newer.yardstick.constant.count == 6


def test_a_loss_without_a_yardstick_has_no_measurement() -> None:
    clip = [distill.Embeddings.of_clip(torch.randn(6, size)) for size in (4, 3)]
    found = {name: imitation(name).eval()(*clip).observed for name in ("relational", "contrastive", "mse")}
    assert found["relational"] == found["mse"] == {}
    assert found["contrastive"].keys() == {"recall"}


@pytest.mark.parametrize("targets", ["raw", "standardised", "whitened", "phi_s"])
@pytest.mark.parametrize(
    ("loss", "keeps_length"), [("mse", True), ("l1", True), ("cosine", False), ("contrastive", False)]
)
def test_a_perfect_prediction_is_the_vector_of_the_teacher(targets: str, loss: str, keeps_length: bool) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(200, 3) @ torch.randn(3, 3) + 2
    part = imitation(loss, targets)
    if part.normalise is not None:
        part.normalise.fit(vectors)
    assert isinstance(part.projector, nn.Linear)
    clip = vectors if part.normalise is None else part.normalise(vectors)
    with torch.no_grad():  # the student's embedding is the target, with a fourth number that does not count
        part.projector.weight.copy_(torch.eye(3, 4))
        part.projector.bias.zero_()
    space = part.space()
    assert space is not None
    answers = space(torch.cat([clip, torch.randn(200, 1)], 1))
    if keeps_length:
        torch.testing.assert_close(answers, vectors, atol=1e-4, rtol=1e-4)
    else:  # the direction from the mean is right, and the length is that of a typical vector
        matrix, mean = (torch.eye(3), torch.zeros(3)) if part.normalise is None else part.normalise.inverse()
        back = (answers - mean) @ torch.linalg.inv(matrix)
        torch.testing.assert_close(F.cosine_similarity(back, clip), torch.ones(200))
        torch.testing.assert_close(back.norm(dim=1), torch.full((200,), 1.0 if targets == "raw" else 3**0.5))


def test_frames_have_no_space() -> None:
    pairing = Alignment(0.1, 0.1, "auto")
    teacher = distill.create_teacher("spectral")
    part = Imitation(teacher, build_projector("linear", 4, 3, 0, 0.0), build_loss("mse"), pairing, "standardised")
    assert part.space() is None
