"""The best constant prediction and recall, against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.losses.regression import cosine, l1, mean, mean_direction, median, mse
from distill.objectives.parts.yardstick import BestConstant, Yardstick, explained, recall
from distill.objectives.tokenizer import TokenizerDistillation


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


def test_zero_is_a_yardstick_where_the_constant_of_few_targets_is_worse() -> None:
    yardstick = Yardstick(cosine, 2)
    yardstick.fit(torch.tensor([[1.0, 0.0]]))
    target = torch.tensor([[-1.0, 0.1], [0.3, 2.0]])  # away from the constant
    prediction = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    loss = cosine(prediction, target)
    assert cosine(torch.tensor([[1.0, 0.0]]).expand(2, 2), target) > 1
    found = yardstick.eval()(cosine, loss, prediction, target)
    assert found == {"explained": pytest.approx(1 - float(loss))}


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


TOKENIZER = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}


def tokenizer(teachers: dict[str, distill.Teacher], **options: Any) -> TokenizerDistillation:
    student = distill.create_student("hear_tokenizer", **TOKENIZER, codes=8)
    return TokenizerDistillation(student, teachers, code_dim=4, **TOKENIZER, **options)


def test_the_tokenizer_shows_the_share_of_each_teachers_frames() -> None:
    objective = tokenizer({"one": distill.create_teacher("spectral")})
    clips = distill.AudioBatch.of(torch.randn(3, 16_000), 16_000)
    objective.train()(clips)
    assert "explained" not in objective.observed
    loss = objective.eval()(clips)["one"]
    constant = objective.yardsticks["one"].constant.mean.float()
    frames = distill.create_teacher("spectral")(clips)
    pairs = objective.alignments["one"](frames, frames)
    assert constant.shape == (pairs.teacher.shape[2],)
    yardstick = cosine(constant.expand_as(pairs.teacher[pairs.mask]), pairs.teacher[pairs.mask])
    assert objective.observed["explained"] == pytest.approx(1 - loss.item() / yardstick.item(), rel=0.05)
    assert "perplexity" in objective.observed


def test_one_queue_cannot_have_the_frames_of_two_teachers() -> None:
    teachers = {name: distill.create_teacher("spectral") for name in ("one", "two")}
    with pytest.raises(UserError, match="the frames of one teacher"):
        tokenizer(teachers, loss="queue_kl")
