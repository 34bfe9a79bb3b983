"""PyTorch's files: which objects are read beside tensors, and which are refused."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill.data.encoders.pickles import Ignored, number, read_pickle
from distill.data.errors import UserError


class Class:
    """Any class that is not among the harmless ones."""


class WithCode:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def read(value: Any, folder: Path, old_format: bool = False) -> Any:
    torch.save(
        {"weight": torch.ones(1), "beside": value}, folder / "x.pt", _use_new_zipfile_serialization=not old_format
    )
    return read_pickle(folder / "x.pt", "--checkpoint")["beside"]


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (argparse.Namespace(rate=0.1), argparse.Namespace(rate=0.1)),
        (types.SimpleNamespace(rate=0.1), types.SimpleNamespace(rate=0.1)),
        (np.float64(1.5), 1.5),
        (np.float16(2.0), 2.0),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (pathlib.PurePosixPath("/a/b"), pathlib.PurePosixPath("/a/b")),
        (pathlib.PureWindowsPath("c:/b"), pathlib.PureWindowsPath("c:/b")),
        (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
        (datetime.timedelta(1), datetime.timedelta(1)),
        (frozenset({1}), frozenset({1})),
        (torch.__version__, torch.__version__),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_are_read(value: Any, expected: Any, old_format: bool, tmp_path: Path) -> None:
    assert read(value, tmp_path, old_format) == expected


def test_a_path_of_this_system_is_read(tmp_path: Path) -> None:
    assert str(read(tmp_path, tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("value", [np.arange(3.0), np.array([None]), np.str_("a"), np.datetime64("2020-01-01")])
def test_other_values_of_numpy_are_ignored(value: Any, tmp_path: Path) -> None:
    assert isinstance(read(value, tmp_path), Ignored)


def test_configurations_of_omegaconf_and_lightning_are_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _class("omegaconf.dictconfig", "DictConfig", object, monkeypatch)()
    config.content = {"rate": 1}
    attributes = _class("lightning.fabric.utilities.data", "AttributeDict", dict, monkeypatch)
    torch.save({"config": config, "hyper_parameters": attributes(rate=1)}, tmp_path / "x.ckpt")
    monkeypatch.undo()
    content = read_pickle(tmp_path / "x.ckpt", "--checkpoint")
    assert isinstance(content["config"], Ignored)
    assert content["hyper_parameters"] == {"rate": 1}


def _class(module: str, name: str, base: type, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a class of a module that need not be installed."""
    made = types.ModuleType(module)
    kind = type(name, (base,), {"__module__": module})
    setattr(made, name, kind)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], types.ModuleType(module.partition(".")[0]))
    monkeypatch.setitem(sys.modules, module, made)
    return kind


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Class(), "tests.data.encoders.test_pickles.Class"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (WithCode(Path.touch, Path("RAN")), "getattr"),
        (WithCode(eval, "1"), "eval"),
        (WithCode(getattr, Path(), "home"), "getattr"),
    ],
    ids=["class", "network", "method", "eval", "getattr"],
)
def test_code_and_other_objects_are_refused_by_name_and_do_not_run(
    value: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^--checkpoint .*x.pt: not loaded, .*code or objects") as refused:
        read(value, tmp_path)
    assert name in str(refused.value)
    assert "torch.save(model.state_dict(), FILE)" in str(refused.value)
    assert not Path("RAN").exists()


def test_a_file_cannot_build_an_array_from_bytes(tmp_path: Path) -> None:
    array = read(WithCode(np.ndarray, (1,), "O", b"\1" * 8), tmp_path)  # a pointer to anywhere
    assert isinstance(array, Ignored)
    assert isinstance(number(np.dtype("O"), b"\1" * 8), Ignored)


def test_torchscript_is_code(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "x.pt")
    with pytest.raises(UserError, match="TorchScript is code"):
        read_pickle(tmp_path / "x.pt", "--checkpoint")


def test_the_list_of_safe_classes_is_as_before(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read(argparse.Namespace(), tmp_path)
    assert set(torch.serialization.get_safe_globals()) == before
