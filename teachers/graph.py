"""Graphs from waveform to embeddings, in files: what a file states, and how it takes samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError, require_one_of

TENSORS = ("output", "frames", "logits")  # fields of `GraphFacts` that name tensors
LAYOUTS = {"samples": 1, "batch,samples": 2, "batch,1,samples": 3}  # dimensions of the input
_WINDOW = 10.0  # seconds, if a file takes any length and states no windows
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
        if "logits" in given and self.logits not in (
            None,
            given["logits"],
        ):  # the labels of the file belong to its own class scores
            given["labels"] = None
        facts = replace(self, **given)
        if facts.sample_rate is not None and facts.sample_rate < 1:
            raise UserError(f"--teacher.sample_rate {facts.sample_rate}: must be at least 1, in Hz")
        if facts.layout is not None:
            require_one_of("--teacher.layout", facts.layout, LAYOUTS)
        _ = facts.peak  # raises for an unknown level
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
        with suppress(ValueError):  # of a text that is not a number
            if kind == "peak" and 0 < float(number) < math.inf:
                return float(number)
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
        window = min(_WINDOW, longest / rate if longest else _WINDOW)
    if 0 < window < 0.01:
        raise UserError(f"its input of {window * 1000:.3g} ms is too short; at least 10 ms are required: {where}")
    return InputForm(rate, layout, batch, samples, longest, window)
