"""Values that wait on their device and are handed over together."""

from __future__ import annotations

from functools import partial

import torch

from distill.objectives.parts.observed import observe
from distill.training.readings import Readings
from tests.pretend_device import DEVICE, PretendDevice


def test_a_number_is_handed_over_at_once_and_others_in_order_by_one_read() -> None:
    found: list[tuple[str, float]] = []

    def receive(name: str, value: float) -> None:
        found.append((name, value))

    readings = Readings()
    with PretendDevice() as device:
        readings.add(observe(float, torch.full((), 2.0, device=DEVICE)), partial(receive, "first"))
        readings.add(observe(float, torch.tensor(1.0)), partial(receive, "on the CPU"))
        readings.add(observe(float, torch.full((), 3.0, device=DEVICE)), partial(receive, "second"))
        assert found == [("on the CPU", 1.0)]
        assert not device.waits
        readings.read()
        assert found[1:] == [("first", 2.0), ("second", 3.0)]
        readings.read()
        assert len(found) == 3
        assert sum(device.waits.values()) == 1
