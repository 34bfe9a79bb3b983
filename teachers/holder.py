"""A holder that keeps teachers outside the modules of an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from distill.teachers.teacher import Teacher


class FrozenTeachers(Mapping[str, Teacher]):
    """Teachers by name, frozen when they are taken.

    The holder is not an nn.Module. So no optimiser, state dict, DDP wrapper or `train()` of its owner reaches a
    teacher.

    Args:
        teachers: Teachers by name.
    """

    def __init__(self, teachers: Mapping[str, Teacher]) -> None:
        self._teachers = {name: teacher.freeze() for name, teacher in teachers.items()}

    def __getitem__(self, name: str) -> Teacher:
        return self._teachers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._teachers)

    def __len__(self) -> int:
        return len(self._teachers)

    def move(self, function: Callable[[Tensor], Tensor]) -> None:
        """Apply `function`, such as a move to a device or dtype, to all parameters and buffers."""
        for teacher in self._teachers.values():
            teacher._apply(function)
