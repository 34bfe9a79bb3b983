"""Registries: components by name, imported when one is used."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from distill.data.errors import UserError
from distill.data.files import plain

T = TypeVar("T")
Written = str | Mapping[str, Any]
"""A component in a config: its name, or {"class_path": name, "init_args": options}."""


@dataclass(frozen=True)
class Spec:
    """Name and options of a component, from which it can be built again.

    Args:
        name: Registered name, or import path.
        options: Arguments of the constructor, by name.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_config(self) -> dict[str, Any]:
        """Return the spec as in config.yaml. Raises TypeError if an option has no JSON form."""
        return {"class_path": self.name, "init_args": plain(self.options)}


class Rebuildable:
    """A component that keeps the spec it was built from.

    Attributes:
        spec: Set by `Registry.create`. None if the class was called directly.
        sizes: Options that come from a checkpoint. They replace the options of the spec.
    """

    spec: Spec | None = None
    sizes: Mapping[str, Any] = MappingProxyType({})


def suggest(word: str, known: list[str]) -> str:
    """Return the hint of a message about an unknown word: similar known words, and all known words."""
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


class Registry(Generic[T]):
    """The components of one kind, by name.

    A name is a Python identifier, since the command line resolves it as one. Built-in components are listed as
    "module:attribute" and imported at their first use, so listing names is fast.

    Args:
        kind: Kind of the components, in the singular, for messages.
        builtin: "module:attribute" of each built-in component, by name.
        base: "module:attribute" of the base class of all components. Empty accepts any callable.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], base: str = "") -> None:
        self.kind = kind
        self.group = f"distill.{kind}s"  # the entry-point group of other packages
        self._base_path = base
        self._builtin = dict(builtin)
        self._registered: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Register a class as `name`. A decorator. Raises ValueError if the name is taken or not an identifier."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot name a {self.kind}: must have letters, digits and underscores only")

        def add(component: Callable[..., T]) -> Callable[..., T]:
            owner = self._registered.get(name)
            same = owner is not None and _path(owner) == _path(component)  # a notebook cell that runs twice
            if name in self._builtin or (owner is not None and not same):
                taken_by = self._builtin.get(name) or _path(self._registered[name])
                raise ValueError(f"the {self.kind} {name!r} is already {taken_by}; choose another name")
            self._registered[name] = component
            return component

        return add

    def names(self, pattern: str = "*") -> list[str]:
        """Return all names that match a glob pattern, sorted, with the entry points of other packages."""
        known = self._builtin.keys() | self._registered.keys() | entry_points(group=self.group).names
        return sorted(name for name in known if fnmatch(name, pattern))

    def location(self, name: str) -> str | None:
        """Return the "module:attribute" of a built-in component. None for other components."""
        return None if name in self._registered else self._builtin.get(name)

    def find(self, name: str) -> Callable[..., T]:
        """Return the class of a name, or of an import path ("package.module.Class").

        Raises:
            UserError: the name is unknown, or its import fails. The message suggests similar names.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            return _attribute(self._builtin[name])
        if plugin := tuple(entry_points(group=self.group, name=name)):
            return self._load(plugin[0])
        if "." in name:
            return self._import(name)
        raise UserError(f"unknown {self.kind} {name!r}; {suggest(name, self.names())}")

    def _load(self, plugin: EntryPoint) -> Callable[..., T]:
        try:
            return plugin.load()
        except (ImportError, AttributeError) as error:
            package = plugin.dist.name if plugin.dist else "another package"
            raise UserError(
                f"the {self.kind} {plugin.name!r} of {package} ({plugin.value}) cannot be loaded: {error}"
            ) from error

    def _import(self, path: str) -> Callable[..., T]:
        module, _, attribute = path.rpartition(".")
        if attribute == "py" or not all(part.isidentifier() for part in path.split(".")):
            raise UserError(
                f"{path!r} must be an import path of a {self.kind}, such as my_parts.My{self.kind.capitalize()} for a "
                "class in my_parts.py, whose folder is the working folder or in PYTHONPATH"
            )
        try:
            return getattr(import_module(module), attribute)
        except ImportError as error:
            raise UserError(f"cannot import the {self.kind} {path!r}: {error}") from error
        except AttributeError:
            raise UserError(f"{module} has no {attribute!r} to use as a {self.kind}") from None

    @cached_property
    def base(self) -> type[Any]:
        """Base class of all components."""
        return _attribute(self._base_path) if self._base_path else object

    def create(self, name: str | type[T], /, **options: Any) -> T:
        """Build a component from its name, import path or class, and set its spec.

        Raises:
            UserError: the component or an option is unknown.
        """
        component: Any = self.find(name) if isinstance(name, str) else name
        try:
            arguments = inspect.signature(component).bind(**options)
        except TypeError as error:
            raise UserError(f"{self.kind} {name}: {error}; its options are {inspect.signature(component)}") from None
        built = component(**options)
        if isinstance(built, Rebuildable):
            arguments.apply_defaults()
            known = _flat(arguments) | dict(built.sizes)
            built.spec = Spec(self.name_of(component) if isinstance(component, type) else str(name), known)
        return built

    def parse(self, written: Written) -> Spec:
        """Return the spec of a component in a config, under its registered name.

        Options that had another name in an earlier version (`renamed_options` of the class) get that of today.

        Raises:
            UserError: the mapping has other keys.
        """
        if isinstance(written, str):
            return Spec(written)
        if not {"class_path"} <= written.keys() <= {"class_path", "init_args"}:
            raise UserError(f"{self.kind}: must be a name or {{class_path: NAME, init_args: ...}}, not {dict(written)}")
        component = self.find(written["class_path"])
        name = self.name_of(component) if isinstance(component, type) else written["class_path"]
        renamed: Mapping[str, str] = getattr(component, "renamed_options", {})
        options = written.get("init_args") or {}
        return Spec(name, {renamed.get(option, option): value for option, value in options.items()})

    def complete(self, spec: Spec, given: Collection[str]) -> Spec:
        """Return the spec with all defaults filled in, except for the arguments in `given`, as plain values.

        Raises:
            UserError: an option has no JSON form.
        """
        parameters = inspect.signature(self.find(spec.name)).parameters
        defaults = {name: p.default for name, p in parameters.items() if name not in given and p.default is not p.empty}
        return self._plain(Spec(spec.name, {**defaults, **spec.options}))

    def build(self, part: Written | Spec | T, /, **given: Any) -> T:
        """Return a component: built from its name, mapping or spec, or the object unchanged.

        Args:
            part: Name, mapping, spec or object.
            given: Arguments that are not options of the user.

        Raises:
            UserError: the component is of another kind, or cannot be built.
        """
        spec = self.parse(part) if isinstance(part, str | Mapping) else part
        built: Any = self.create(spec.name, **given, **spec.options) if isinstance(spec, Spec) else spec
        if not isinstance(built, self.base):
            raise UserError(f"a {type(built).__name__} is not a {self.kind}: it must be a distill.{self.base.__name__}")
        return built

    def build_several(self, parts: Sequence[Written | Spec | T]) -> dict[str, T]:
        """Return components by the last part of their name. A name that occurs again gets a number."""
        components: dict[str, T] = {}
        for component in map(self.build, parts):
            name = self.name_of(type(component)).rpartition(".")[2]
            unique, number = name, 1
            while unique in components:
                number += 1
                unique = f"{name}_{number}"
            components[unique] = component
        return components

    def spec_of(self, component: Rebuildable) -> Spec:
        """Return the spec from which a component can be built again.

        Raises:
            UserError: its class was called directly, so its options are unknown, or an option has no JSON form.
        """
        name = self.name_of(type(component))
        spec = component.spec
        if spec is None:
            parameters = inspect.signature(type(component)).parameters.keys()
            if parameters - {"windows"}:
                raise UserError(
                    f"the {self.kind} {name} was built by its class, so its options are unknown; "
                    f"build it with distill.create_{self.kind}({name!r}, ...)"
                )
            spec = Spec(name, {option: getattr(component, option) for option in parameters})
        return self._plain(spec)

    def _plain(self, spec: Spec) -> Spec:
        """Return the spec with its options as plain values. Raises UserError for an option without a JSON form."""
        try:
            return Spec(spec.name, plain(spec.options))
        except TypeError as error:
            raise UserError(f"the {self.kind} {spec.name} has an option that cannot be saved: {error}") from error

    def name_of(self, component: type) -> str:
        """Return the registered name of a class, or its import path."""
        for name, path in self._builtin.items():
            if path == f"{component.__module__}:{component.__qualname__}":
                return name
        for name, registered in self._registered.items():
            if registered is component:
                return name
        return _path(component)

    def is_trusted(self, name: str) -> bool:
        """Return whether a file may name this component: it is registered, or its module is already imported.

        A file that could import any class could run any code.
        """
        return name in self.names() or name.rpartition(".")[0] in sys.modules


def _attribute(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _flat(arguments: inspect.BoundArguments) -> dict[str, Any]:
    """Return all arguments by name; those in **options too."""
    flat: dict[str, Any] = {}
    for name, value in arguments.arguments.items():
        if arguments.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            flat |= value
        else:
            flat[name] = value
    return flat


def _path(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}"
