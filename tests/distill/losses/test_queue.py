"""Divergence of similarities to a queue, against a version that goes row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distill.losses.queue import QueueKullbackLeibler


def slow(prediction: Tensor, target: Tensor, past: list[Tensor], temperature: float) -> float:
    """Return the mean divergence, computed pair by pair."""

    def softmax(row: Tensor) -> list[float]:
        scores = [torch.cosine_similarity(row, other, dim=0).item() / temperature for other in [*target, *past]]
        total = sum(map(math.exp, scores))
        return [math.exp(score) / total for score in scores]

    rows = [(softmax(own), softmax(predicted)) for own, predicted in zip(target, prediction, strict=True)]
    return sum(t * math.log(t / s) for own, predicted in rows for t, s in zip(own, predicted, strict=True)) / len(rows)


def test_it_equals_the_slow_version_and_the_queue_has_the_latest_targets() -> None:
    loss, past = QueueKullbackLeibler(temperature=0.3, size=5), []
    for step in range(4):
        prediction, target = torch.randn(3, 4), torch.randn(3, 4) * 9
        assert loss(prediction, target).item() == pytest.approx(slow(prediction, target, past, 0.3), rel=1e-4), step
        past = [*target, *past][:5]
    assert loss.filled == 5
    torch.testing.assert_close(loss.queue, torch.nn.functional.normalize(torch.stack(past), dim=1))
    large = torch.randn(9, 4)
    loss(large, large)
    torch.testing.assert_close(loss.queue, torch.nn.functional.normalize(large[:5], dim=1))
    none = QueueKullbackLeibler(temperature=0.3, size=0)
    for _ in range(2):
        assert none(prediction, target).item() == pytest.approx(slow(prediction, target, [], 0.3), rel=1e-4)


def test_evaluation_reads_the_queue_and_does_not_change_it() -> None:
    loss, target = QueueKullbackLeibler(), torch.randn(6, 4)
    loss(torch.randn(6, 4), target)
    queue = loss.queue.clone()
    prediction, other = torch.randn(3, 4), torch.randn(3, 4)
    expected = slow(prediction, other, list(target), 0.1)
    assert loss.eval()(prediction, other).item() == pytest.approx(expected, rel=1e-4)
    assert loss.queue.equal(queue)
    assert loss.filled == 6


def test_a_perfect_prediction_has_loss_zero_and_the_target_no_gradient() -> None:
    loss, target = QueueKullbackLeibler(), torch.randn(6, 4, requires_grad=True)
    prediction = torch.randn(6, 4, requires_grad=True)
    loss(prediction, target).backward()
    assert target.grad is None
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert loss(target * 3, target).item() == pytest.approx(0, abs=1e-6)


def test_the_queue_is_saved() -> None:
    loss, again = QueueKullbackLeibler(), QueueKullbackLeibler()
    loss(torch.randn(6, 4), torch.randn(6, 4))
    again.load_state_dict(loss.state_dict())
    assert again.queue.shape == (2048, 4)
    batch = torch.randn(2, 4), torch.randn(2, 4)
    assert again(*batch).equal(loss(*batch))
    assert again.filled == 8
    assert again.queue.equal(loss.queue)


@pytest.mark.parametrize(("options", "message"), [({"temperature": 0.0}, "temperature 0"), ({"size": -1}, "size -1")])
def test_numbers_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QueueKullbackLeibler(**options)  # type: ignore[arg-type]
