"""Measurements that stay on the device until they are read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.objectives.parts.observed import Unread, mean_of, observe, read_all
from tests.pretend_device import DEVICE, PretendDevice


def test_on_a_cpu_a_measurement_is_a_number_at_once() -> None:
    assert observe(float, torch.tensor(0.25)) == 0.25
    assert mean_of([1.0, 2.0]) == 1.5


def test_all_measurements_are_read_by_one_copy_and_computed_on_the_cpu() -> None:
    def largest(rows: Tensor, shift: Tensor) -> float:
        assert rows.device.type == "cpu"
        assert rows.shape == (2, 3)
        return float(rows.max() + shift)

    with PretendDevice() as device:
        rows = torch.arange(6.0).view(2, 3).to(DEVICE, non_blocking=True)
        one, two = observe(largest, rows, rows.sum()), observe(float, rows.mean())
        both = mean_of([one, two, 10.5])
        waiting = [value for value in (one, two, both) if isinstance(value, Unread)]
        assert len(waiting) == 3
        assert not device.waits
        read_all(waiting)
        assert [float(value) for value in waiting] == pytest.approx([20.0, 2.5, 11.0])
        read_all(waiting)
        assert sum(device.waits.values()) == device.to_host == 1


def test_float_reads_a_single_measurement() -> None:
    with PretendDevice() as device:
        value = observe(float, torch.ones((), device=DEVICE) * 3)
        assert float(value) == 3.0
        assert device.to_host == 1
