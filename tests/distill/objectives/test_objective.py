"""What every objective inherits: weights, teachers and the total."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.objectives.objective import Objective
from tests.own_parts import TinyConvolution


class TwoLosses(Objective):
    """An objective of two losses that are numbers."""

    takes_teachers = True

    def __init__(self, weights: dict[str, float] | None = None, **teachers: distill.Teacher) -> None:
        super().__init__(TinyConvolution(), {"near": 0.3, "far": 0.7}, weights, teachers)

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        return {"near": torch.tensor(2.0), "far": torch.tensor(10.0)}


def test_the_total_is_the_weighted_sum() -> None:
    losses = {"near": torch.tensor(2.0), "far": torch.tensor(10.0)}
    assert float(TwoLosses().total(losses)) == pytest.approx(7.6)
    assert float(TwoLosses({"far": 0.0}).total(losses)) == pytest.approx(0.6)


def test_a_weight_of_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UserError, match=r"--objective\.weights: no loss 'nera'; did you mean 'near'"):
        TwoLosses({"nera": 1.0})


def test_teachers_are_moved_with_the_objective_and_are_not_its_modules() -> None:
    teacher = distill.create_teacher("spectral")
    teacher.register_buffer("level", torch.zeros(2))
    objective = TwoLosses(one=teacher).to(torch.float64)
    assert teacher.get_buffer("level").dtype == torch.float64
    assert not [key for key in objective.state_dict() if "level" in key]
    objective.check_teachers()
    objective.head = nn.Sequential(teacher)
    with pytest.raises(UserError, match=r"TwoLosses\.head\.0: a teacher must not be a child module"):
        objective.check_teachers()
