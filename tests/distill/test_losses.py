from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from distill.losses import LOSSES
from tests.conftest import GOLDEN


@pytest.mark.parametrize("name", LOSSES.names())
def test_value_and_gradient_equal_the_official_ones(name: str) -> None:
    stored = np.load(GOLDEN / "ssondo" / "losses.npz")
    expected = json.loads((GOLDEN / "ssondo" / "losses.json").read_text())[name]["value"]
    prediction = torch.from_numpy(stored["y_hat"]).requires_grad_()
    loss = LOSSES.find(name)(prediction, torch.from_numpy(stored["y_teacher"]))
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert prediction.grad is not None
    np.testing.assert_allclose(prediction.grad.numpy(), stored[f"grad_{name}"], rtol=1e-4, atol=1e-8)
