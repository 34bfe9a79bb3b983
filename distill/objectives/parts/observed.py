"""Measurements of a training step that are not read from the device before they are logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor


class Unread:
    """A measurement that waits on its device. `float` reads it, and waits for all that the device has to compute.

    Args:
        tensors: Tensors on the device from which it is computed. They must not change.
        compute: Function from these tensors, on the CPU in float32, to the measurement.

    Attributes:
        known: The measurement. None before it was read.
    """

    def __init__(self, tensors: Sequence[Tensor], compute: Callable[..., float]) -> None:
        self.tensors, self.compute = tuple(tensor.detach() for tensor in tensors), compute
        self.known: float | None = None

    def __float__(self) -> float:
        read_all([self])
        assert self.known is not None
        return self.known


Observed = float | Unread
"""A measurement: a number, or one that waits on its device."""


def observe(compute: Callable[..., float], *tensors: Tensor) -> Observed:
    """Return a measurement that is computed from tensors: at once on a CPU, elsewhere when it is read.

    Args:
        compute: Function from these tensors, on the CPU, to the measurement. `float` for a scalar.
        tensors: Tensors of one device.
    """
    unread = Unread(tensors, compute)
    return unread if tensors[0].device.type != "cpu" else compute(*(tensor.detach() for tensor in tensors))


def mean_of(values: Sequence[Observed]) -> Observed:
    """Return the mean of measurements. None of them is read."""
    waiting = [value for value in values if isinstance(value, Unread)]
    known = sum(value for value in values if not isinstance(value, Unread))
    if not waiting:
        return known / len(values)
    counts = [len(value.tensors) for value in waiting]

    def mean(*tensors: Tensor) -> float:
        total, rest = known, list(tensors)
        for value, count in zip(waiting, counts, strict=True):
            total += value.compute(*rest[:count])
            del rest[:count]
        return total / len(values)

    return Unread([tensor for value in waiting for tensor in value.tensors], mean)


def read_all(measurements: Iterable[Unread]) -> None:
    """Read measurements of one device, all by one copy."""
    waiting = [value for value in dict.fromkeys(measurements) if value.known is None]
    tensors = {id(tensor): tensor for value in waiting for tensor in value.tensors}
    if not tensors:
        return
    numbers = torch.cat([tensor.float().flatten() for tensor in tensors.values()]).cpu()
    parts = numbers.split([tensor.numel() for tensor in tensors.values()])
    found = {key: part.view(tensor.shape) for (key, tensor), part in zip(tensors.items(), parts, strict=True)}
    for value in waiting:
        value.known = value.compute(*(found[id(tensor)] for tensor in value.tensors))
