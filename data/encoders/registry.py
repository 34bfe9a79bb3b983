"""Components by name, resolved without importing them until one is built."""

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
"""A component as a user writes it: its name, or {"class_path": name, "init_args": options} as in YAML."""


@dataclass(frozen=True)
class Spec:
    """Name and options of a component, from which it can be built again.

    Args:
        name: Registered name, or import path.
        options: Arguments of the constructor by name.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_config(self) -> dict[str, Any]:
        """Return the form of config.yaml. Raises TypeError where an option is an object that no file can hold."""
        return {"class_path": self.name, "init_args": plain(self.options)}


class Rebuildable:
    """A component that keeps the spec it was built from.

    Attributes:
        spec: Set by `Registry.create`; None where the class was called by hand.
        sizes: Options that a checkpoint has decided; they replace those of the spec.
    """

    spec: Spec | None = None
    sizes: Mapping[str, Any] = MappingProxyType({})


def suggest(word: str, known: list[str]) -> str:
    """The words after an unknown one: "did you mean ...?" where something is close, and all that is known."""
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


class Registry(Generic[T]):
    """Names of one kind of component.

    A name is a Python identifier, because the command line resolves it as one. Components of ours are listed as
    "module:attribute" and imported when asked for, so that listing names costs nothing.

    Args:
        kind: What the components are, in the singular; used in messages.
        builtin: "module:attribute" of each of ours, by name.
        base: "module:attribute" of the class that every component extends; empty where any callable will do.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], base: str = "") -> None:
        self.kind = kind
        self.group = f"distill.{kind}s"  # the entry-point group of other packages
        self._base_path = base
        self._builtin = dict(builtin)
        self._registered: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Make a class known as `name`. Decorator; a name that is taken raises ValueError."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot name a {self.kind}: letters, digits and underscores only")

        def add(component: Callable[..., T]) -> Callable[..., T]:
            owner = self._registered.get(name)
            same = owner is not None and _path(owner) == _path(component)  # a notebook cell run twice
            if name in self._builtin or (owner is not None and not same):
                taken_by = self._builtin.get(name) or _path(self._registered[name])
                raise ValueError(f"the {self.kind} {name!r} is {taken_by} already; choose another name")
            self._registered[name] = component
            return component

        return add

    def names(self, pattern: str = "*") -> list[str]:
        """All known names that match a glob, other packages' entry points included, sorted."""
        known = self._builtin.keys() | self._registered.keys() | entry_points(group=self.group).names
        return sorted(name for name in known if fnmatch(name, pattern))

    def location(self, name: str) -> str | None:
        """Where one of our own components is, as "module:attribute"; None for those of others."""
        return None if name in self._registered else self._builtin.get(name)

    def find(self, name: str) -> Callable[..., T]:
        """The class called `name`, or the one at the import path `name` ("package.module.Class").

        Raises:
            UserError: nothing has this name; the message suggests one.
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
        try:
            return getattr(import_module(module), attribute)
        except ImportError as error:
            raise UserError(f"cannot import the {self.kind} {path!r}: {error}") from error
        except AttributeError:
            raise UserError(f"{module} has no {attribute!r} to use as a {self.kind}") from None

    @cached_property
    def base(self) -> type[Any]:
        """The class that every component extends."""
        return _attribute(self._base_path) if self._base_path else object

    def create(self, name: str | type[T], /, **options: Any) -> T:
        """Build a component from its name, import path or class, and keep the spec with it.

        Raises:
            UserError: no such component, or an option that it does not take.
        """
        component: Any = self.find(name) if isinstance(name, str) else name
        try:
            arguments = inspect.signature(component).bind(**options)
        except TypeError as error:
            raise UserError(f"{self.kind} {name}: {error}; it takes {inspect.signature(component)}") from None
        built = component(**options)
        if isinstance(built, Rebuildable):
            arguments.apply_defaults()
            known = _flat(arguments) | dict(built.sizes)
            built.spec = Spec(self.name_of(component) if isinstance(component, type) else str(name), known)
        return built

    def parse(self, written: Written) -> Spec:
        """Return the spec of what a user wrote, under its registered name. Raises UserError for other keys."""
        if isinstance(written, str):
            return Spec(written)
        if not {"class_path"} <= written.keys() <= {"class_path", "init_args"}:
            raise UserError(f"{self.kind}: must be a name or {{class_path: NAME, init_args: ...}}, not {dict(written)}")
        component = self.find(written["class_path"])
        name = self.name_of(component) if isinstance(component, type) else written["class_path"]
        return Spec(name, dict(written.get("init_args") or {}))

    def complete(self, spec: Spec, given: Collection[str]) -> Spec:
        """Return the spec with every option that was left to its default; `given` are arguments, not options."""
        parameters = inspect.signature(self.find(spec.name)).parameters
        defaults = {name: p.default for name, p in parameters.items() if name not in given and p.default is not p.empty}
        return Spec(spec.name, {**defaults, **spec.options})

    def build(self, part: Written | Spec | T, /, **given: Any) -> T:
        """Return the component itself: built from its name or spec, or the object as it is.

        Args:
            part: Name, mapping, spec or object.
            given: Arguments that no user writes.

        Raises:
            UserError: it is no such component, or it cannot be built.
        """
        spec = self.parse(part) if isinstance(part, str | Mapping) else part
        built: Any = self.create(spec.name, **given, **spec.options) if isinstance(spec, Spec) else spec
        if not isinstance(built, self.base):
            raise UserError(f"a {type(built).__name__} is not a {self.kind}: it must be a distill.{self.base.__name__}")
        return built

    def build_several(self, parts: Sequence[Written | Spec | T]) -> dict[str, T]:
        """Return components by the last word of their name, with a number where it occurs again."""
        components: dict[str, T] = {}
        for component in map(self.build, parts):
            name = self.name_of(type(component)).rpartition(".")[2]
            free, number = name, 1
            while free in components:
                number += 1
                free = f"{name}_{number}"
            components[free] = component
        return components

    def spec_of(self, component: Rebuildable) -> Spec:
        """Return the spec from which a component can be built again.

        Raises:
            UserError: its class was called by hand with options that nobody wrote down, or an option is an object.
        """
        name = self.name_of(type(component))
        spec = component.spec
        if spec is None:
            parameters = inspect.signature(type(component)).parameters.keys()
            if parameters - {"windows"}:
                raise UserError(
                    f"the {self.kind} {name} was built by hand, and its options cannot be written down; "
                    f"build it with distill.create_{self.kind}({name!r}, ...)"
                )
            spec = Spec(name, {option: getattr(component, option) for option in parameters})
        try:
            return Spec(spec.name, plain(spec.options))
        except TypeError as error:
            raise UserError(f"the {self.kind} {name} cannot be built again from a file: {error}") from error

    def name_of(self, component: type) -> str:
        """The name a class is registered under, or its import path."""
        for name, path in self._builtin.items():
            if path == f"{component.__module__}:{component.__qualname__}":
                return name
        for name, registered in self._registered.items():
            if registered is component:
                return name
        return _path(component)

    def is_trusted(self, name: str) -> bool:
        """Whether building `name` imports nothing that a file alone has named.

        A file that names a class is a program; so one may only name what is registered or imported already.
        """
        return name in self.names() or name.rpartition(".")[0] in sys.modules


def _attribute(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _flat(arguments: inspect.BoundArguments) -> dict[str, Any]:
    """Arguments by name; those of **options each by its own."""
    flat: dict[str, Any] = {}
    for name, value in arguments.arguments.items():
        if arguments.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            flat |= value
        else:
            flat[name] = value
    return flat


def _path(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}"
