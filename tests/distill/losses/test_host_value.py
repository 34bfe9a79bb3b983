"""The value of a buffer that the host knows."""

from __future__ import annotations

import copy

import torch

from distill.losses.host_value import HostValue
from tests.pretend_device import DEVICE, PretendDevice


def test_a_buffer_is_read_only_after_others_have_changed_it() -> None:
    known = HostValue()
    with PretendDevice() as device:
        buffer = torch.zeros((), dtype=torch.int64, device=DEVICE)
        assert known.get(buffer) == 0
        known.set(buffer, known.get(buffer) + 5)
        assert known.get(buffer) == 5
        assert sum(device.waits.values()) == 1
        buffer.fill_(7)
        assert known.get(buffer) == 7
        assert sum(device.waits.values()) == 2
        assert known.get(buffer + 1) == 8
        assert known.get(buffer) == 7


def test_a_copy_of_a_module_knows_its_own_buffer() -> None:
    part = torch.nn.Module()
    part.register_buffer("step", torch.tensor(1))
    part.known = HostValue()  # type: ignore[assignment]
    part.known.set(part.step, 3)
    other = copy.deepcopy(part)
    part.known.set(part.step, 4)
    assert (other.known.get(other.step), part.known.get(part.step)) == (3, 4)
