"""A graph in a file: its inputs and outputs, and a runtime that computes its tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError, first_line
from distill.teachers.graph import Port

_MAX_NAMED = 12  # tensors that a message names
_LAST = 5  # inner tensors that a message names: an embedding is most often near the end
_OTHER_KINDS = {"float": "float32", "double": "float64"}  # names of types that are not NumPy's
_RATES = ("sr", "sample_rate", "sampling_rate", "samplerate")  # names of an input for the sample rate

Array = NDArray[Any]


class Graph(ABC):
    """The graph of a file. It is read first, and computes after `open`: on the CPU, with PyTorch's number of threads.

    A subclass for a runtime sets `metadata`, `inputs` and `outputs` in `_read`, and computes arrays.

    Args:
        path: The file.
        where: The option and value of the user, for messages.

    Attributes:
        metadata: Text by name.
        inputs: Inputs without a default.
        outputs: Outputs.
        constants: Values of the inputs that take no samples, by name, after `open`.

    Raises:
        UserError: a package is missing, or the file is not such a graph, or it needs code beside the file.
    """

    metadata: Mapping[str, str] = MappingProxyType({})
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    constants: Mapping[str, Array] = MappingProxyType({})

    def __init__(self, path: Path, where: str) -> None:
        if not path.is_file():
            raise UserError(f"{where}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
        self.path, self.where = path, where
        self._names: tuple[str, ...] = ()
        self._sound: Port | None = None
        self._rate = 0
        self._read()

    @abstractmethod
    def _read(self) -> None:
        """Read the file. Raises UserError if it is not such a graph."""

    @abstractmethod
    def _inner(self) -> Sequence[str]:
        """Return the names of the tensors between inputs and outputs, in the order of the graph."""

    @abstractmethod
    def _prepare(self, names: Sequence[str]) -> None:
        """Make ready to compute tensors. Raises UserError if the runtime does not support the graph."""

    @abstractmethod
    def _compute(self, feeds: Mapping[str, Array]) -> Sequence[object]:
        """Compute the tensors of `_prepare` from the inputs, by name. May raise anything."""

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each further file that holds weights, by name."""
        return {}

    def listed(self) -> str:
        """Return the inputs and outputs as text."""
        named = [f"{len(ports)} {kind}: {_names(ports)}" for kind, ports in self._sides() if ports]
        return "; ".join(named)

    def _sides(self) -> Iterator[tuple[str, tuple[Port, ...]]]:
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            yield kind + "s" * (len(ports) != 1), ports

    def sound_input(self, name: str | None = None) -> Port:
        """Return the input of samples.

        Args:
            name: Its name. None: the graph has one input.

        Raises:
            UserError: there are several, or it does not take samples.
        """
        found = [port for port in self.inputs if name in (None, port.name)]
        if not found and name is not None:
            raise UserError(f"--teacher.input {name}: {self.where} has no such input; it has {self.listed()}")
        if len(found) != 1:
            raise UserError(
                f"{self.where}: must have one input, of samples, or --teacher.input NAME must name it; "
                f"it has {self.listed()}"
            )
        kind = _dtype(found[0])
        if kind is None or kind.kind != "f":
            raise UserError(f"{self.where}: its input must take floating-point samples; it has {self.listed()}")
        return found[0]

    def open(self, names: Sequence[str], sound: str | None = None, sample_rate: int = 0) -> Self:
        """Prepare the graph to compute tensors, and return it.

        Args:
            names: Names of outputs or of inner tensors.
            sound: Name of the input of samples. None: the graph has one input.
            sample_rate: In Hz, for an input that takes it as a number.

        Raises:
            UserError: a tensor is not in the graph, the runtime does not support it, or another input has no value.
        """
        self._sound, self._rate, self._names = self.sound_input(sound), sample_rate, tuple(names)
        others = [port for port in self.inputs if port != self._sound]
        self.constants = {port.name: self._constant(port) for port in others}
        outputs, inner = [port.name for port in self.outputs], self._inner()
        known = {*outputs, *inner}
        for name in names:
            if name not in known:
                last = ", ".join([each for each in inner if each not in outputs][-_LAST:])
                raise UserError(f"{self.where}: has no tensor {name!r}; {self.listed()}; last inner tensors: {last}")
        self._prepare(self._names)
        return self

    def _constant(self, port: Port) -> Array:
        """Return the value of an input that takes no samples: the sample rate if its name says so, otherwise 0."""
        kind, shape = _dtype(port), port.shape
        if kind is None or shape is None or any(size != 1 for size in shape):
            raise UserError(f"{self.where}: besides samples, it needs {port}; only inputs of one number are supported")
        return np.full((1,) * len(shape), self._rate if port.name.lower() in _RATES else 0, kind)

    def __reduce__(self) -> tuple[Callable[..., Graph], tuple[object, ...]]:
        sound = None if self._sound is None else self._sound.name  # a session of a runtime cannot be copied
        return _reopened, (type(self), self.path, self.where, self._names, sound, self._rate)

    def run(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Compute the tensors of `open`, in their order.

        Args:
            samples: The input, in its shape.

        Raises:
            UserError: the graph cannot be computed for this input, or a tensor is not of numbers.
        """
        port = self._sound
        assert port is not None
        try:
            found = self._compute({port.name: samples.astype(_dtype(port)), **self.constants})
        except Exception as error:  # runtimes raise classes of their own, with no common base
            raise UserError(f"{self.where}: cannot be computed for {samples.shape} ({first_line(error)})") from error
        arrays = []
        for name, value in zip(self._names, found, strict=True):
            if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
                kind = getattr(value, "dtype", type(value).__name__)
                raise UserError(f"{self.where}: {name!r} has {kind}, not floating-point numbers; {self.listed()}")
            arrays.append(value.astype(np.float32))
        return arrays


def _reopened(
    kind: type[Graph], path: Path, where: str, names: Sequence[str], sound: str | None, sample_rate: int
) -> Graph:
    """Return a copy of an open graph."""
    return kind(path, where).open(names, sound, sample_rate)


def _names(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports[:_MAX_NAMED])) + (", ..." if len(ports) > _MAX_NAMED else "")


def _dtype(port: Port) -> np.dtype[Any] | None:
    """Return the type of an input as NumPy's. None: NumPy has no such numbers."""
    try:
        kind = np.dtype(_OTHER_KINDS.get(port.kind, port.kind))
    except TypeError:
        return None
    return kind if kind.kind in "fiubc" else None
