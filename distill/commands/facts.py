"""What is listed of a component. That of our own components is read from their source, which needs no torch."""

from __future__ import annotations

import ast
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from distill.data.encoders.registry import Registry
from distill.teachers.published import Published

_ENCODER = "distill.data.encoders.encoder:Encoder"


class Facts(NamedTuple):
    """What is known of a component without building it.

    Args:
        summary: First line of its docstring.
        sample_rate: In Hz; None where a checkpoint or an option decides.
        licence: Of the weights.
        source: Where the weights come from.
        published: Sizes of the published checkpoint; None where there is no such one.
    """

    summary: str
    sample_rate: int | None
    licence: str
    source: str
    published: Published | None


def facts_of(registry: Registry[Any], name: str) -> Facts:
    """The facts of the component called `name`, which is imported where its source does not tell them.

    Raises:
        UserError: a component of another package cannot be imported.
    """
    if location := registry.location(name):
        with suppress(LookupError):
            return read(location)
    return imported(registry.find(name))


def imported(component: Any) -> Facts:
    """The facts of a component that is imported; defaults are those of `Encoder`."""
    summary = (component.__doc__ or "").strip().partition("\n")[0]
    default = read(_ENCODER)
    return Facts(summary, *(getattr(component, name, getattr(default, name)) for name in Facts._fields[1:]))


def read(location: str) -> Facts:
    """The facts of the component at "module:attribute", from the source of its module and of its bases' modules.

    A listed value of a class is made of numbers, text, `Published(...)`, and constants of our modules: nothing is run.

    Raises:
        LookupError: a value is made of something else.
    """
    module, _, attribute = location.partition(":")
    _, found = _find(module, attribute)
    if not isinstance(found, ast.ClassDef | ast.FunctionDef):
        raise LookupError(f"{location} is not defined there")
    values = _values(*_ENCODER.split(":")) | _values(module, attribute)
    summary = (ast.get_docstring(found) or "").partition("\n")[0]
    return Facts(summary, *(values.get(name) for name in Facts._fields[1:]))  # type: ignore[arg-type]


def _values(module: str, attribute: str) -> dict[str, Any]:
    """Listed values that a class or its bases set, by name; its own before those of its bases."""
    home, found = _find(module, attribute)
    values: dict[str, Any] = {}
    if isinstance(found, ast.ClassDef):
        for base in reversed(found.bases):
            if isinstance(base, ast.Name):
                values |= _values(home, base.id)
        for statement in found.body:
            for name in _targets(statement):
                if name in Facts._fields and statement.value is not None:  # type: ignore[attr-defined]
                    values[name] = _value(home, statement.value)  # type: ignore[attr-defined]
    return values


def _value(module: str, expression: ast.expr) -> Any:
    """What an expression of a module is worth, with the constants that it names."""
    known: dict[str, Any] = {"Published": Published, "__builtins__": {}}
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id not in known:
            home, found = _find(module, node.id)
            if not isinstance(found, ast.Assign):
                raise LookupError(f"{module}: {node.id} is no constant")
            known[node.id] = _value(home, found.value)
    return eval(compile(ast.Expression(expression), module, "eval"), known)


def _find(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """The statement that defines a name, and its module; none where it comes from another package."""
    for statement in _parsed(module):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == name:
            return module, statement
        if name in _targets(statement):
            return module, statement
        if isinstance(statement, ast.ImportFrom) and any(alias.name == name for alias in statement.names):
            home = statement.module or ""
            return _find(home, name) if home.startswith("distill.") else (home, None)
    return module, None


def _targets(statement: ast.stmt) -> list[str]:
    """Names that a statement sets."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def _parsed(module: str) -> list[ast.stmt]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"{module} has no source")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
