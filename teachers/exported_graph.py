"""Read a file of torch.export and compute its tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.data.errors import UserError, first_line
from distill.teachers.exported_archive import DTYPES, Archive, read_archive
from distill.teachers.exported_program import Program
from distill.teachers.graph import Port
from distill.teachers.graph_runtime import Graph

_OF_WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


class ExportedGraph(Graph):
    """The graph of a file of torch.export. Its operators are PyTorch's, and this package interprets them."""

    def _read(self) -> None:
        archive = read_archive(self.path, self.where)
        self.metadata = archive.extra
        try:
            module = archive.model["graph_module"]
            self._program = Program(module["graph"], self.where)
            self._weights = dict(self._named_weights(archive))
            shapes = module["graph"]["tensor_values"]
            self.inputs = tuple(_port(name, name, shapes) for name in _inputs(module))
            names = dict(_outputs(module))
            self.outputs = tuple(_port(name, inner, shapes) for name, inner in names.items())
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"{self.where}: is damaged, or no file of torch.export ({first_line(error)})") from error
        self._inner_names = {**{name: name for name in self._program.names}, **names}

    def _named_weights(self, archive: Archive) -> Iterator[tuple[str, Tensor]]:
        """Yield weights and constants by their names in the graph."""
        for entry in archive.model["graph_module"]["signature"]["input_specs"]:
            ((kind, stated),) = entry.items()
            if kind in _OF_WEIGHTS:
                yield stated["arg"]["name"], archive.tensors[stated[_OF_WEIGHTS[kind]]]
            elif kind not in ("user_input", "constant_input"):
                raise UserError(f"{self.where}: has an input of kind {kind}, which needs code beside the file")

    def _inner(self) -> list[str]:
        return list(self._inner_names)

    def _prepare(self, names: Sequence[str]) -> None:
        self._results = [self._inner_names[name] for name in names]

    def _compute(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[object]:
        given = {name: torch.from_numpy(value) for name, value in feeds.items()}
        before = [weight._version for weight in self._weights.values()]
        with torch.no_grad(), torch.autocast("cpu", enabled=False):  # as the file states, whatever the caller chose
            found = self._program.run({**self._weights, **given}, self._results)
        if before != [weight._version for weight in self._weights.values()]:
            raise ValueError("it changes its weights when it computes: export it after model.eval()")
        return [value.float().numpy() if _is_real(value) else value for value in found]


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _inputs(module: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the inputs that are tensors; others are constants of the graph."""
    for entry in module["signature"]["input_specs"]:
        if "user_input" in entry and "as_tensor" in (argument := entry["user_input"]["arg"]):
            yield argument["as_tensor"]["name"]


def _outputs(module: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names of the outputs, and their names in the graph. The keys of a dictionary name them."""
    found = [
        entry["user_output"]["arg"]["as_tensor"]["name"]
        for entry in module["signature"]["output_specs"]
        if "as_tensor" in entry.get("user_output", {}).get("arg", {})
    ]
    keys: Sequence[str] = found
    calls = [call["signature"] for call in module["module_call_graph"] if not call["fqn"]]
    if calls and calls[0]:
        tree = json.loads(calls[0]["out_spec"])[1]
        is_flat = not any(child["children_spec"] for child in tree["children_spec"])
        if tree["type"] == "builtins.dict" and is_flat and len(tree["children_spec"]) == len(found):
            keys = list(map(str, json.loads(tree["context"])))
    yield from zip(keys, found, strict=True)


def _port(name: str, inner: str, shapes: Mapping[str, Any]) -> Port:
    """Return what the graph states about an input or output. A size that is an expression is free."""
    stated = shapes[inner]
    sizes = tuple(size.get("as_int", "?") for size in stated["sizes"])
    return Port(name, str(DTYPES.get(stated["dtype"], "unknown")).removeprefix("torch."), sizes)
