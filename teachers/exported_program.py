"""Interpret the graph of a file of torch.export: operators of PyTorch on tensors, and arithmetic of sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from distill.data.errors import UserError
from distill.teachers.exported_archive import DTYPES, STRIDED

_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_PREFIX = "torch.ops.aten."
_BY_NAME = 2  # the kind of an argument that is given by name
_CHECKS = ("_assert", "sym_constrain")  # operators without a result that only check a value
_OPERATOR = type(torch.ops.aten.relu.default)
_OF_SIZES: Mapping[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt",
                     "ge", "and_", "or_", "not_", "getitem")
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "torch.sym_float": float, "torch.sym_int": int, "torch.sym_max": max, "torch.sym_min": min,
    "torch.sym_not": operator.not_, "torch._sym_sqrt": math.sqrt,
}  # fmt: skip
# Operators around a part of a graph: where the part lies in their inputs, and where a switch that must be off.
_WRAPPED: Mapping[str, tuple[int, int | None]] = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": (1, None),
    "torch.ops.higher_order.wrap_with_autocast": (4, 2),
}
_AS_IT_IS = ("int", "ints", "float", "floats", "bool", "bools", "string", "strings", "int_lists", "float_lists")
Values = Mapping[str, Any]


class Step(NamedTuple):
    """One operator of a graph.

    Args:
        function: The operator.
        inputs: Its arguments as in JSON, in their order.
        options: Its arguments by name.
        outputs: Names of its results; empty for one that is not used.
        has_several: Whether it returns a sequence, of a result for each name.
    """

    function: Callable[..., Any]
    inputs: Sequence[Mapping[str, Any]]
    options: Mapping[str, Mapping[str, Any]]
    outputs: Sequence[str]
    has_several: bool


class Program:
    """The steps of a graph.

    Args:
        graph: The graph, as in JSON.
        where: The option and value of the user, for messages.

    Attributes:
        names: Names of all results, in their order.

    Raises:
        UserError: an operator is not one of PyTorch that computes tensors, since it would need code.
    """

    def __init__(self, graph: Mapping[str, Any], where: str) -> None:
        self._steps = [_step(node, where) for node in graph["nodes"]]
        self.names = [name for step in self._steps for name in step.outputs if name]

    def run(self, values: Values, names: Sequence[str]) -> list[Any]:
        """Compute results by name from inputs, weights and constants by name."""
        known, missing = dict(values), set(names)
        for step, unused in zip(self._steps, self._unused_after(names), strict=True):
            if not missing:
                break
            options = {name: _value(argument, known) for name, argument in step.options.items()}
            result = step.function(*(_value(argument, known) for argument in step.inputs), **options)
            results = result if step.has_several else (result,)
            known.update(zip(step.outputs, results, strict=bool(step.outputs)))
            missing -= set(step.outputs)
            for name in unused:
                known.pop(name, None)
        return [known[name] for name in names]

    def _unused_after(self, names: Sequence[str]) -> list[set[str]]:
        """Return the results that no later step needs, after each step: their memory is free."""
        needed, found = set(names), []
        for step in reversed(self._steps):
            used = {name for argument in (*step.inputs, *step.options.values()) for name in _used(argument)}
            found.append((used | set(step.outputs)) - needed)
            needed |= used
        return found[::-1]


def _step(node: Mapping[str, Any], where: str) -> Step:
    """Return the step of a node in JSON."""
    target = str(node["target"])
    function = _OF_SIZES.get(target) or _operator(target)
    if target in _WRAPPED:
        return _wrapped_step(node, where)
    if target.startswith("torch.ops.higher_order."):
        raise UserError(f"{where}: has {target}, which is not supported: export it without control flow")
    if function is None:
        raise UserError(
            f"{where}: has the custom operator {target}, which needs code beside the file; "
            f"only operators of {_PREFIX.rstrip('.')} are supported"
        )
    given = node["inputs"]
    inputs = [entry["arg"] for entry in given if entry["kind"] != _BY_NAME]
    options = {entry["name"]: entry["arg"] for entry in given if entry["kind"] == _BY_NAME}
    has_several = len(node["outputs"]) > 1 or any("as_tensors" in output for output in node["outputs"])
    return Step(function, inputs, options, _results(node), has_several)


def _wrapped_step(node: Mapping[str, Any], where: str) -> Step:
    """Return a part of a graph as one step. It runs under torch.no_grad and without autocast, as all steps do."""
    place, switch = _WRAPPED[node["target"]]
    arguments = [entry["arg"] for entry in node["inputs"]]
    if switch is not None and arguments[switch]["as_bool"]:
        raise UserError(f"{where}: has {node['target']}, which is not supported: export it without autocast")
    graph = arguments[place]["as_graph"]["graph"]
    program = Program(graph, where)
    inputs, outputs = (list(_used(graph[side])) for side in ("inputs", "outputs"))

    def run(*values: Any) -> list[Any]:
        return program.run(dict(zip(inputs, values, strict=True)), outputs)

    return Step(run, arguments[place + 1 :], {}, _results(node), True)


def _results(node: Mapping[str, Any]) -> list[str]:
    """Return the names of the results of a node. Empty: a result that is not used."""
    return [name for output in node["outputs"] for name in (list(_used(output)) or [""])]


def _operator(target: str) -> Callable[..., Any] | None:
    """Return an operator of PyTorch by its name in a file. None: there is none that computes tensors."""
    name, _, overload = target.removeprefix(_PREFIX).partition(".")
    if not target.startswith(_PREFIX) or "." in overload:
        return None
    found = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(found, _OPERATOR):
        return None
    schema = found._schema
    touches_files = any(argument.name == "filename" for argument in schema.arguments)
    has_effect = not schema.returns and not name.startswith(_CHECKS)
    return None if touches_files or has_effect else found


def _used(argument: Any) -> Iterator[str]:
    """Yield the names in an argument or result in JSON."""
    if isinstance(argument, list):
        for entry in argument:
            yield from _used(entry)
    elif isinstance(argument, Mapping):
        for kind, entry in argument.items():
            if kind in ("name", "as_name"):
                yield str(entry)
            elif kind != "as_device":
                yield from _used(entry)


def _value(argument: Mapping[str, Any], known: Values) -> Any:
    """Return the value of an argument in JSON, such as {"as_int": 3}."""
    ((kind, entry),) = argument.items()
    kind = kind.removeprefix("as_")
    if kind in _AS_IT_IS:
        return list(map(float, entry)) if kind == "floats" else float(entry) if kind == "float" else entry
    if kind in ("tensor", "name"):
        return known[entry if kind == "name" else entry["name"]]
    if kind == "tensors":
        return [known[each["name"]] for each in entry]
    if kind.startswith("sym_") or kind.startswith("optional_tensor"):
        return [_value(each, known) for each in entry] if isinstance(entry, list) else _value(entry, known)
    codes: Mapping[str, Mapping[int, Any]] = {
        "scalar_type": DTYPES, "memory_format": _FORMATS, "layout": {STRIDED: torch.strided},
    }  # fmt: skip
    if kind in codes:
        return codes[kind][entry]
    if kind == "device":
        return torch.device("cpu")  # whatever it was exported on
    if kind == "complex":
        return complex(entry["real"], entry["imag"])
    if kind == "none":
        return None
    raise ValueError(f"an argument {kind!r} is not supported")
