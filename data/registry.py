"""Components by name, resolved without importing them until one is built."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from distill.data.errors import UserError

T = TypeVar("T")


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
    """

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = f"distill.{kind}s"  # the entry-point group of other packages
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
            module, _, attribute = self._builtin[name].partition(":")
            return getattr(import_module(module), attribute)
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

    def create(self, name: str, **options: Any) -> T:
        """Build the component called `name`; options that it does not take raise UserError."""
        component = self.find(name)
        try:
            inspect.signature(component).bind(**options)
        except TypeError as error:
            raise UserError(f"{self.kind} {name}: {error}; it takes {inspect.signature(component)}") from None
        return component(**options)

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


def _path(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}"
