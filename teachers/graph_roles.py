"""What the tensors of a graph are, measured on noise: of clips or of frames, and when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.teachers.graph import GraphFacts, InputForm

_SHORTEST = (0.1, 0.5, 1.0, 3.0)  # seconds that are tried if the file states no shortest input
_SPAN = 10.0  # seconds whose frames are counted, beside those of a second
_MIN_SHIFT = 0.1  # by which a change must move farther along time than along the other axis
_TOLERANCE = 1e-3  # between a clip in a batch and alone, relative to the largest number


class Role(NamedTuple):
    """What a tensor of a graph is.

    Args:
        time_axis: Its axis of time. None: it has a vector for each clip.
        has_rows: Whether the first axis counts the clips.
    """

    time_axis: int | None
    has_rows: bool

    def of_rows(self, value: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the tensor as (rows, dim) or (rows, time, dim)."""
        if self.time_axis is None:
            return value.reshape(len(value) if self.has_rows else 1, -1)
        value = value if self.has_rows else value[None]
        return value if self.time_axis + (not self.has_rows) == 1 else value.swapaxes(1, 2)


def role_of(short: tuple[int, ...], long: tuple[int, ...], rows: int) -> Role | None:
    """Return the role of a tensor by its shapes for a shorter and a longer input. They are equal for a fixed length.

    The axis of time is the one that grows, or the first one after the clips. None: the tensor has neither role.
    """
    if len(short) != len(long) or 0 in short + long:
        return None
    has_rows = len(long) > 1 and short[0] == long[0] == rows
    inner_short, inner_long = (shape[1:] if has_rows else shape for shape in (short, long))
    if not has_rows and rows != 1:
        return None
    growing = [axis for axis, sizes in enumerate(zip(inner_short, inner_long, strict=True)) if sizes[0] != sizes[1]]
    if len(inner_long) == 2 and len(growing) < 2:
        if inner_long[0] == 1 and not growing:  # (batch, 1, dim)
            return Role(None, has_rows)
        return Role((growing or [0])[0] + has_rows, has_rows)
    return Role(None, has_rows) if len(inner_long) == 1 and not growing else None


@dataclass(frozen=True)
class Measured:
    """What is known about a graph after it has computed noise.

    Args:
        shortest: Fewest samples of its input.
        rows: Clips that it takes at a time. None: any number.
        roles: Roles of its tensors, by name.
        sizes: Sizes of the tensors of a clip, by name: (dim,) or (time, dim).
        hop: Seconds from one frame to the next. 0 without frames.
        first: Centre of the first frame, in seconds.
    """

    shortest: int
    rows: int | None
    roles: Mapping[str, Role]
    sizes: Mapping[str, tuple[int, ...]]
    hop: float
    first: float


Compute = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]


def measure(compute: Compute, names: Sequence[str], form: InputForm, facts: GraphFacts, where: str) -> Measured:
    """Compute noise of two lengths, alone and in a batch, and return what follows.

    Args:
        compute: Computes the tensors from the input in its layout.
        names: Names of the tensors.
        form: The form of the input.
        facts: What is stated.
        where: The file with its inputs and outputs, for messages.

    Raises:
        UserError: the graph cannot be computed, gives NaN, or a tensor is neither of clips nor of frames.
    """
    rate = form.sample_rate
    shortest = form.samples or _shortest(compute, form, facts)
    longer = form.samples or max(shortest, min(form.longest or math.inf, round(_SPAN * rate)))
    shorter = form.samples or max(shortest, min(int(longer), rate))
    before, after = (compute(form.arranged(_noise(1, int(size)))) for size in (shorter, longer))
    roles, sizes = {}, {}
    shifts = _shifts(compute, form, int(longer)) if shorter == longer else [None] * len(names)
    for name, short, long, shift in zip(names, before, after, shifts, strict=True):
        if not (np.isfinite(short).all() and np.isfinite(long).all()):
            raise UserError(f"{name!r} has NaN or infinite numbers for noise: {where}")
        if (role := role_of(short.shape, long.shape, form.batch or 1)) is None:
            shapes = " and ".join(str(shape) for shape in dict.fromkeys((short.shape, long.shape)))
            raise UserError(f"{name!r} of shape {shapes} must be (batch, dim) or (batch, time, dim): {where}")
        if shift is not None and role.time_axis is not None and shift[-1] > shift[-2] + _MIN_SHIFT:
            role = Role(role.time_axis + 1, role.has_rows)
        roles[name], sizes[name] = role, role.of_rows(long).shape[1:]
    hop, first = 0.0, 0.0
    for name, short, long in zip(names, before, after, strict=True):
        if (axis := roles[name].time_axis) is not None:
            counts = short.shape[axis], long.shape[axis]
            if counts[0] == counts[1] and shorter != longer:
                raise UserError(f"{name!r} has {counts[0]} frames for any length, so they have no times: {where}")
            seconds = int(longer) / rate
            hop = seconds / counts[1] if shorter == longer else (int(longer) - shorter) / rate / (counts[1] - counts[0])
            first = (seconds - (counts[1] - 1) * hop) / 2
    if facts.frame_hop and hop:
        hop, first = facts.frame_hop, facts.frame_hop / 2 if facts.first_frame is None else facts.first_frame
    rows = form.batch or (None if _keeps_apart(compute, form, roles, shorter) else 1)
    return Measured(shortest, rows, roles, sizes, hop, first)


def _shifts(compute: Compute, form: InputForm, samples: int) -> list[NDArray[np.float64]]:
    """Return how far a change moves along each axis of each tensor, if it moves from the start of a window to its end.

    It is about 1 along time, as a share of the axis, and about 0 along other axes. So it shows where time lies if no
    other length can be computed.

    Args:
        compute: Computes the tensors from the input in its layout.
        form: The form of the input.
        samples: Length of the input.
    """
    noise = _noise(1, samples)
    tenth = max(1, noise.shape[1] // 10)
    first, last = noise.copy(), noise.copy()
    first[:, :tenth], last[:, -tenth:] = 0, 0
    whole, *others = (compute(form.arranged(sound)) for sound in (noise, first, last))
    starts, ends = ([_centres(np.abs(a - b)) for a, b in zip(whole, other, strict=True)] for other in others)
    return [end - start for start, end in zip(starts, ends, strict=True)]


def _centres(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centre of weights along each axis, from 0 to 1."""
    total = float(weights.sum()) or 1.0
    return np.array(
        [
            float(np.tensordot(weights, np.linspace(0, 1, size), axes=(axis, 0)).sum()) / total
            for axis, size in enumerate(weights.shape)
        ]
    )


def _shortest(compute: Compute, form: InputForm, facts: GraphFacts) -> int:
    """Return the fewest samples that a graph takes."""
    rate = form.sample_rate
    if facts.shortest_seconds is not None:
        return max(1, round(facts.shortest_seconds * rate))
    sizes = [size for second in _SHORTEST if (size := round(second * rate)) <= (form.longest or size)]
    for size in sizes:
        with suppress(UserError):  # of a graph that needs more samples
            if all(value.size and np.isfinite(value).all() for value in compute(form.arranged(_noise(1, size)))):
                return size
    return sizes[-1] if sizes else form.longest or rate  # it fails again, and the message is shown


def _keeps_apart(compute: Compute, form: InputForm, roles: Mapping[str, Role], samples: int) -> bool:
    """Return whether two clips in a batch give what each alone gives."""
    if not all(role.has_rows for role in roles.values()):
        return False
    noise = _noise(2, samples)
    try:
        both = compute(form.arranged(noise))
    except UserError:
        return False
    return all(
        len(together) == 2
        and together[row].shape == alone[0].shape
        and np.allclose(together[row], alone[0], rtol=0, atol=_TOLERANCE * float(np.abs(alone).max()))
        for row in range(2)
        for together, alone in zip(both, compute(form.arranged(noise[row : row + 1])), strict=True)
    )


def _noise(rows: int, samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, samples), dtype=np.float32) * np.float32(0.1)
