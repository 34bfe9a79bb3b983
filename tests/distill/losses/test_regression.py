"""Distances between a prediction and a target, against their formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distill.losses.regression import cosine, l1, mse

PREDICTION = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
TARGET = torch.tensor([[4.0, 3.0], [0.0, 2.0]])


@pytest.mark.parametrize(("loss", "expected"), [(cosine, 1 - (24 / 25 + 0) / 2), (mse, 7 / 4), (l1, 5 / 4)])
def test_values(loss: Callable[[Tensor, Tensor], Tensor], expected: float) -> None:
    assert float(loss(PREDICTION, TARGET)) == pytest.approx(expected)
    frames = loss(PREDICTION.view(1, 2, 1, 2), TARGET.view(1, 2, 1, 2))
    assert float(frames) == pytest.approx(expected)
    assert float(loss(TARGET, TARGET)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [cosine, mse, l1])
def test_half_precision_is_summed_in_float32(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    prediction, target = torch.full((1, 4), 300.0), torch.full((1, 4), -300.0)  # squares overflow float16
    assert loss(prediction.half(), target.half()).dtype == torch.float32
    torch.testing.assert_close(loss(prediction.half(), target.half()), loss(prediction, target))


def test_the_cosine_ignores_lengths() -> None:
    torch.testing.assert_close(cosine(PREDICTION * 7, TARGET), cosine(PREDICTION, TARGET * 0.1))
