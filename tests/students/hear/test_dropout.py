"""Dropout with a fast mask."""

from __future__ import annotations

import pytest
import torch

from distill.students.hear.dropout import Dropout


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout = Dropout(0.1).train()
    values = torch.ones(1_000_003)
    dropped = dropout(values)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.002)
    assert dropout.eval()(values) is values or dropout(values).equal(values)
