"""Graphs from waveform to embeddings, in files: what a file states, the form of its input, the roles of its tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distill.data.audio.frames import remove_mean
from distill.data.batch import AudioBatch
from distill.data.errors import UserError, require_one_of

LAYOUTS = {"samples": 1, "batch,samples": 2, "batch,1,samples": 3}  # dimensions of the input
_SHORTEST = (0.1, 0.5, 1.0, 3.0)  # seconds that are tried if the file states no shortest input
_SPAN = 10.0  # seconds whose frames are counted, beside those of a second
_TOLERANCE = 1e-3  # between a clip in a batch and alone, relative to the largest number
_OTHER_NAMES = {  # of other programs
    "sampling_rate": "sample_rate",
    "samplerate": "sample_rate",
    "window_size_s": "window_seconds",
    "license": "licence",
}


@dataclass(frozen=True)
class GraphFacts:
    """What the metadata of a file and the options state. `distill export` writes it. None: not stated.

    Args:
        sample_rate: In Hz.
        output: Name of the tensor with the embeddings, of clips or of frames.
        frames: Name of the tensor with the frames, if `output` has the clips.
        logits: Name of the tensor with the class scores.
        labels: Label of each column of the logits.
        layout: Dimensions of the input, one of `LAYOUTS`.
        level: Level of the input: "none" (as it is), "standard" (mean 0, variance 1) or "peak=NUMBER".
        window_seconds: How long clips are cut. 0: not at all.
        shortest_seconds: Shortest input. Shorter clips are padded with zeros.
        longest_seconds: Longest input.
        frame_hop: Seconds from one frame to the next.
        first_frame: Centre of the first frame, in seconds.
        licence: Licence of the weights.
    """

    sample_rate: int | None = None
    output: str | None = None
    frames: str | None = None
    logits: str | None = None
    labels: tuple[str, ...] | None = None
    layout: str | None = None
    level: str | None = None
    window_seconds: float | None = None
    shortest_seconds: float | None = None
    longest_seconds: float | None = None
    frame_hop: float | None = None
    first_frame: float | None = None
    licence: str | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, str], where: str) -> Self:
        """Return the facts in the metadata of a file. Other entries are ignored.

        Args:
            metadata: Text by name.
            where: The option and value of the user, for messages.

        Raises:
            UserError: a value is of another type, or impossible.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        found: dict[str, Any] = {}
        for key, text in metadata.items():
            name = _OTHER_NAMES.get(key, key)
            if name in known and text:
                try:
                    found.setdefault(name, _parsed(text, known[name]))
                except ValueError as error:
                    raise UserError(f"{where}: its metadata state {key} {text!r}: {error}") from error
        return cls(**found)

    def as_metadata(self) -> dict[str, str]:
        """Return what is known, as text by name."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in known.items()
            if value is not None
        }

    def with_options(self, **options: int | str | None) -> Self:
        """Return the facts with the options of the user, which count more. None: not given.

        Raises:
            UserError: an option is impossible.
        """
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if {"output", "frames"} & given.keys():  # the frames of the file belong to its own outputs
            given = {"frames": None, "frame_hop": None, "first_frame": None, **given}
        if "logits" in given:
            given["labels"] = None
        facts = replace(self, **given)
        if facts.sample_rate is not None and facts.sample_rate < 1:
            raise UserError(f"--teacher.sample_rate {facts.sample_rate}: must be at least 1, in Hz")
        if facts.layout is not None:
            require_one_of("--teacher.layout", facts.layout, LAYOUTS)
        _ = facts.peak
        return facts

    @property
    def peak(self) -> float | None:
        """Largest sample that each clip is scaled to. None: the level is another one.

        Raises:
            UserError: the level is unknown.
        """
        kind, _, number = (self.level or "none").partition("=")
        if kind in ("none", "standard") and not number:
            return None
        try:
            if kind == "peak" and 0 < float(number) < math.inf:
                return float(number)
        except ValueError:
            pass
        raise UserError(f"--teacher.level {self.level!r}: must be none, standard or peak=NUMBER, such as peak=0.25")


def _parsed(text: str, kind: str) -> Any:
    """Return the value of a text, of a type such as "int | None". Raises ValueError."""
    if kind.startswith("str"):
        return text
    if kind.startswith("tuple"):
        labels = json.loads(text)
        if not isinstance(labels, list):
            raise ValueError("must be a list in JSON")
        return tuple(map(str, labels))
    number = float(text)
    if not 0 <= number < math.inf or (kind.startswith("int") and (number < 1 or number != int(number))):
        raise ValueError("must be a whole number of at least 1" if kind.startswith("int") else "must be at least 0")
    return int(number) if kind.startswith("int") else number


class Port(NamedTuple):
    """An input or output of a graph.

    Args:
        name: Its name.
        kind: Type of its numbers, such as "float" or "int64".
        shape: Its dimensions: a size, or the name of a free dimension. None: the file does not state them.
    """

    name: str
    kind: str
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        shape = "of unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {self.kind} {shape}"


class InputForm(NamedTuple):
    """How a graph takes samples.

    Args:
        sample_rate: In Hz.
        layout: One of `LAYOUTS`.
        batch: Clips at a time, if their number is fixed.
        samples: Samples of a clip, if their number is fixed.
        longest: Most samples of a clip. None: any number.
        window_seconds: How long clips are cut. 0: not at all.
    """

    sample_rate: int
    layout: str
    batch: int | None
    samples: int | None
    longest: int | None
    window_seconds: float

    def arranged(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return clips (rows, samples) in the layout. A fixed batch is filled with zeros."""
        rows, samples = waveform.shape
        waveform = np.pad(waveform, ((0, max(0, (self.batch or rows) - rows)), (0, 0)))
        return waveform.reshape({1: (-1,), 2: (-1, samples), 3: (-1, 1, samples)}[LAYOUTS[self.layout]])


def input_form(port: Port, facts: GraphFacts, where: str) -> InputForm:
    """Return how a graph takes samples, by the shape of its input and by what is stated.

    Args:
        port: The input.
        facts: What is stated.
        where: The file with its inputs and outputs, for messages.

    Raises:
        UserError: the sample rate or the layout is unknown, or the shape is not one of samples.
    """
    by_rank = {rank: layout for layout, rank in LAYOUTS.items()}
    shape = port.shape
    layout = facts.layout if shape is None else by_rank.get(len(shape))
    if shape is None and layout is None:
        raise UserError(f"--teacher.layout is required, one of {' '.join(LAYOUTS)}: {where}")
    is_other = shape is not None and len(shape) == 3 and shape[1] != 1 and isinstance(shape[1], int)
    if layout is None or is_other:
        raise UserError(f"its input must have the shape (samples), (batch, samples) or (batch, 1, samples): {where}")
    if facts.layout not in (None, layout):
        raise UserError(f"--teacher.layout {facts.layout}: the shape of its input is another one: {where}")
    rate = facts.sample_rate
    if rate is None:
        raise UserError(f"--teacher.sample_rate HZ is required, since the file does not state it: {where}")
    shape = shape or ("?",)
    samples = shape[-1] if isinstance(shape[-1], int) else None
    batch = 1 if layout == "samples" else shape[0] if isinstance(shape[0], int) else None
    longest = samples or (round(facts.longest_seconds * rate) if facts.longest_seconds else None)
    window = facts.window_seconds if samples is None else samples / rate
    if window is None:
        window = min(_SPAN, longest / rate if longest else _SPAN)
    if 0 < window < 0.01:
        raise UserError(f"its input of {window * 1000:.3g} ms is too short; at least 10 ms are required: {where}")
    return InputForm(rate, layout, batch, samples, longest, window)


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

    The axis of time is the one that grows, or the first one after the clips. None: the tensor has no such role.
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
    for name, short, long in zip(names, before, after, strict=True):
        if not (np.isfinite(short).all() and np.isfinite(long).all()):
            raise UserError(f"{name!r} has NaN or infinite numbers for noise: {where}")
        if (role := role_of(short.shape, long.shape, form.batch or 1)) is None:
            shapes = " and ".join(str(shape) for shape in dict.fromkeys((short.shape, long.shape)))
            raise UserError(f"{name!r} of shape {shapes} must be (batch, dim) or (batch, time, dim): {where}")
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


def _shortest(compute: Compute, form: InputForm, facts: GraphFacts) -> int:
    """Return the fewest samples that a graph takes."""
    rate = form.sample_rate
    if facts.shortest_seconds is not None:
        return max(1, round(facts.shortest_seconds * rate))
    sizes = [size for second in _SHORTEST if (size := round(second * rate)) <= (form.longest or size)]
    for size in sizes:
        try:
            if all(value.size and np.isfinite(value).all() for value in compute(form.arranged(_noise(1, size)))):
                return size
        except UserError:
            pass
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


def levelled(batch: AudioBatch, facts: GraphFacts) -> Tensor:
    """Return the samples (batch, samples) at the level that the graph expects. Padding stays 0."""
    waveform, peak = batch.waveform, facts.peak
    if peak is not None:
        return waveform * (peak / waveform.abs().amax(1, keepdim=True).clamp(min=1e-8))
    if facts.level != "standard":
        return waveform
    centred = remove_mean(waveform, batch.lengths)
    variance = centred.square().sum(1, keepdim=True) / batch.lengths.unsqueeze(1)
    return centred / (variance + 1e-7).sqrt()
