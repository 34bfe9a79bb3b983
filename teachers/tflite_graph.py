"""Read a TensorFlow Lite file and run it. The file is data: a graph of built-in operators, which LiteRT interprets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError, first_line
from distill.teachers.graph import Port
from distill.teachers.graph_runtime import Graph
from distill.teachers.tflite_metadata import read_metadata


class TfliteGraph(Graph):
    """The graph of a TensorFlow Lite file, which LiteRT computes. It has no custom operators."""

    def _read(self) -> None:
        self._content = self.path.read_bytes()
        self._interpreter = self._session(keeps_all=False)
        self.metadata = read_metadata(self._content, self.where)
        self._shape: tuple[int, ...] | None = None  # of the input, for which memory is allocated
        self.inputs = tuple(map(_port, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_port, self._interpreter.get_output_details()))
        self._indices = {
            str(detail["name"]): int(detail["index"])
            for details in (
                self._interpreter.get_tensor_details(),
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),  # last: inner tensors may have the name of an output
            )
            for detail in details
        }

    def _session(self, keeps_all: bool) -> Any:
        """Return an interpreter, which keeps all inner tensors or none. Raises UserError for a file that it refuses."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UserError(
                "--teacher tflite requires one more package: pip install 'audio-distill[tflite]'"
            ) from error
        if self._content[4:8] != b"TFL3":
            raise UserError(f"{self.where}: is not a TensorFlow Lite file")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that keeping inner tensors costs memory
                return Interpreter(
                    model_content=self._content,
                    num_threads=torch.get_num_threads(),
                    experimental_preserve_all_tensors=keeps_all,
                )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{self.where}: LiteRT cannot load it ({first_line(error)})") from error

    def _inner(self) -> list[str]:
        return list(self._indices)

    def _prepare(self, names: Sequence[str]) -> None:
        if not set(names) <= {port.name for port in self.outputs}:
            self._interpreter = self._session(keeps_all=True)

    def _compute(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[object]:
        assert self._sound is not None
        shape = feeds[self._sound.name].shape
        if shape != self._shape:
            self._shape = None  # should the next line fail
            self._interpreter.resize_tensor_input(self._indices[self._sound.name], shape)
            self._interpreter.allocate_tensors()
            self._shape = shape
        for name, value in feeds.items():
            self._interpreter.set_tensor(self._indices[name], value)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_tensor(self._indices[name])) for name in self._names]


def _port(detail: Mapping[str, Any]) -> Port:
    """Return what a graph states about one of its inputs or outputs. A size of -1 is free."""
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return Port(str(detail["name"]), np.dtype(detail["dtype"]).name, tuple(int(n) if n >= 0 else "?" for n in sizes))
