"""The best constant prediction and recall, against their definitions."""

from __future__ import annotations

import pytest
import torch

from distill.losses.regression import cosine, l1, mean, mean_direction, median, mse
from distill.objectives.parts.yardstick import BestConstant, explained, recall


@pytest.mark.parametrize("constant", [mean, mean_direction])
def test_the_running_constant_is_that_of_all_targets_before_the_batch(constant: object) -> None:
    targets = torch.randn(90, 5) * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]) + torch.arange(5.0)
    running = BestConstant(5, constant)  # type: ignore[arg-type]
    assert running(targets[:40]) is None
    for part, before in ((targets[40:80], 40), (targets[80:], 80)):
        expected = constant(targets[:before])  # type: ignore[operator]
        torch.testing.assert_close(running(part), expected.expand_as(part))
    fitted = BestConstant(5, constant)  # type: ignore[arg-type]
    fitted.fit(targets)
    fitted(torch.randn(9, 5) * 100)  # in training, and fixed all the same
    torch.testing.assert_close(fitted.mean, running.mean)
    assert running.eval()(targets) is not None
    count = running.count.item()
    running(targets)
    assert running.count == count  # evaluation does not add


def test_a_median_of_batches_is_near_that_of_all() -> None:
    targets = torch.randn(6400, 2).exp()
    running = BestConstant(2, median)
    for part in targets.split(32):
        running(part)
    torch.testing.assert_close(running.mean.float(), median(targets), rtol=0.05, atol=0)
    found, best = (float(l1(value.expand_as(targets), targets)) for value in (running.mean, median(targets)))
    assert found == pytest.approx(best, rel=1e-3)


def test_the_share_explained_is_that_of_the_variance() -> None:
    targets = torch.randn(500, 3)
    prediction = targets + torch.randn(500, 3) * 0.5
    yardstick = mse(targets.mean(0).expand_as(targets), targets)
    expected = 1 - (prediction - targets).square().sum() / (targets - targets.mean(0)).square().sum()
    assert explained(mse(prediction, targets), yardstick) == pytest.approx(float(expected), rel=1e-5)
    equal = torch.ones(4, 3)
    assert explained(cosine(torch.randn(4, 3), equal), cosine(equal, equal)) == 0


def test_recall_counts_rows_that_find_their_own_target() -> None:
    target = torch.randn(50, 8)
    prediction = target.clone()
    prediction[[3, 7, 9, 11]] = target[[7, 9, 11, 3]]
    assert recall(prediction * 5, target) == pytest.approx(46 / 50)
    assert recall(torch.randn(4000, 64), torch.randn(4000, 64)) < 0.02
    many = torch.randn(4000, 8)
    assert recall(many, many) == 1
    prediction = torch.stack([target[0], target[0] + 0.4 * target[1]])
    assert recall(prediction, target[:2]) == 0.5  # the second is nearer to the first target
