"""Tiny options for the contract, which the test file of each teacher declares, such as tests/teachers/test_ast.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distill.teachers import TEACHERS

Options = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class TinyTeacher:
    """How the contract builds a teacher, and where its frames lie.

    Args:
        options: From an empty folder, for checkpoints with tiny weights, to the options of the constructor.
        span: Seconds of audio in one frame. None: the network mixes frames, and the span is not tested.
        blur: Seconds by which a front-end or an interpolation blurs an event.
        span_options: Options that the test of spans needs beside `options`.
        level_free: The clip's level is subtracted, so that an event changes all frames a little.
        one_file: The checkpoint is one official file of tensors, which the contract of file formats tests.
        is_graph: The checkpoint is a graph, whose runtime reads the weights.
        published_network: Builds the network of the checkpoint whose sizes `Teacher.published` has, without weights.
        encodes_audio: Embeddings are computed from audio; otherwise the contract cannot test them.
    """

    options: Callable[[Path], dict[str, Any]]
    span: float | None = None
    blur: float = 0.0
    span_options: Mapping[str, Any] = field(default_factory=dict)
    level_free: bool = False
    one_file: bool = False
    is_graph: bool = False
    published_network: Callable[[], nn.Module] | None = None
    encodes_audio: bool = True


def module_of_tests(name: str) -> str:
    """Return the test module of a registered teacher: that of the file that defines its class."""
    source = (TEACHERS.location(name) or "").partition(":")[0]
    folder, _, file = source.rpartition(".")
    folder = folder.removeprefix("distill.") if folder != "distill" else folder
    return f"tests.{folder}.test_{file}"


def find_tiny(name: str) -> TinyTeacher | None:
    """Return `TINY` of the teacher's test module. None means that the module or its `TINY` is missing."""
    module = module_of_tests(name)
    return getattr(import_module(module), "TINY", None) if find_spec(module) else None


def tiny_teacher(name: str) -> TinyTeacher:
    """Return `TINY` of the teacher's test module, or fail the test."""
    tiny = find_tiny(name)
    if tiny is None:
        file = f"{module_of_tests(name).replace('.', '/')}.py"
        pytest.fail(f"the teacher {name!r} needs {file} with TINY = TinyTeacher(...)", False)
    return tiny


def teacher_names(condition: Callable[[TinyTeacher], bool] = lambda tiny: tiny.encodes_audio) -> list[str]:
    """Return the names of our registered teachers that fulfil a condition, and of all without a `TINY`."""
    ours = [name for name in TEACHERS.names() if TEACHERS.location(name)]
    return [name for name in ours if (tiny := find_tiny(name)) is None or condition(tiny)]


class TinyOptions(Options):
    """Options by name of the teacher, made in `folder` when they are first read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in TEACHERS.names():
            raise KeyError(name)
        if name not in self._made:
            (self.folder / name).mkdir()
            with torch.random.fork_rng():  # random weights must depend on nothing but the name
                torch.manual_seed(0)
                self._made[name] = tiny_teacher(name).options(self.folder / name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(teacher_names())

    def __len__(self) -> int:
        return len(teacher_names())


class RunsCode:
    """An object whose pickle creates a file when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("RAN"),)  # type: ignore[return-value]
