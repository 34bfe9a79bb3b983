"""The facts of a component for `distill list`, read from source files so that torch is not imported."""

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
    """The facts of a component that are known before it is built.

    Args:
        summary: First line of the docstring.
        sample_rate: Sample rate in Hz. None: a checkpoint or an option determines it.
        licence: Licence of the weights.
        source: Source of the weights.
        published: Sizes of the published checkpoint. None: they depend on the options.
    """

    summary: str
    sample_rate: int | None
    licence: str
    source: str
    published: Published | None


def facts_of(registry: Registry[Any], name: str) -> Facts:
    """Return the facts of a component. It is imported only if they cannot be read from its source.

    Args:
        registry: Registry of the component.
        name: Name of the component.

    Raises:
        UserError: a component of another package cannot be imported.
    """
    if location := registry.location(name):
        with suppress(LookupError):
            return read(location)
    return imported(registry.find(name))


def imported(component: Any) -> Facts:
    """Return the facts of an imported component. Missing values are those of `Encoder`."""
    summary = (component.__doc__ or "").strip().partition("\n")[0]
    default = read(_ENCODER)
    return Facts(summary, *(getattr(component, name, getattr(default, name)) for name in Facts._fields[1:]))


def read(location: str) -> Facts:
    """Return the facts of a component from the source of its module and of the modules of its bases.

    A value may consist of numbers, text, `Published(...)`, and constants of this package. No other code is run.

    Args:
        location: Location of the component, as "module:attribute".

    Raises:
        LookupError: the component is not defined in the module, or a value is of another form.
    """
    module, _, attribute = location.partition(":")
    _, found = _find(module, attribute)
    if not isinstance(found, ast.ClassDef | ast.FunctionDef):
        raise LookupError(f"{location} is not defined in its module")
    values = _values(*_ENCODER.split(":")) | _values(module, attribute)
    summary = (ast.get_docstring(found) or "").partition("\n")[0]
    return Facts(summary, *(values.get(name) for name in Facts._fields[1:]))  # type: ignore[arg-type]


def _values(module: str, attribute: str) -> dict[str, Any]:
    """Return the facts that a class or its bases set, by name. Those of the class take precedence."""
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
    """Evaluate an expression of a module, with the constants that it names."""
    known: dict[str, Any] = {"Published": Published, "__builtins__": {}}
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id not in known:
            home, found = _find(module, node.id)
            if not isinstance(found, ast.Assign):
                raise LookupError(f"{module}: {node.id} is not a constant")
            known[node.id] = _value(home, found.value)
    return eval(compile(ast.Expression(expression), module, "eval"), known)


def _find(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """Return the module that defines a name, and the statement; None for a name of another package."""
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
    """Return the names that a statement assigns to."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def _parsed(module: str) -> list[ast.stmt]:
    """Return the statements of a module, which is not imported."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"{module} has no source")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
