"""Read PyTorch's own files as data: tensors and plain values. No code of the file runs."""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from distill.data.errors import UserError, first_line

_NAMED = re.compile(r"(?:nsupported global: |unsupported )GLOBAL ([\w.]+)|but got <class '([\w.]+)'>")
_PLAIN = (dict, list, tuple, frozenset, int, float, str, bool)
_OMEGACONF = {
    "base": ("ContainerMetadata", "Metadata"),
    "dictconfig": ("DictConfig",),
    "listconfig": ("ListConfig",),
    "nodes": ("AnyNode", "BooleanNode", "BytesNode", "EnumNode", "FloatNode", "IntegerNode", "PathNode", "StringNode"),
}


class Ignored:
    """Takes the place of an object that no weights need, such as an array or a configuration of OmegaConf."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class NumberType:
    """Takes the place of NumPy's data type of a number.

    Args:
        code: NumPy's code, such as "f8".
        rest: Not used.
    """

    def __init__(self, code: object = "", *rest: object) -> None:
        self.code = str(code)

    def __setstate__(self, state: object) -> None:
        pass


def number(kind: object, data: object = b"") -> int | float | complex | bool | Ignored:
    """Return the number of a scalar of NumPy from its bytes, in the order of a little-endian processor.

    NumPy's own function is not called, since a file may hand it any type.
    """
    if isinstance(kind, NumberType) and isinstance(data, bytes) and re.fullmatch(r"[biufc]\d+", kind.code):
        dtype = np.dtype(kind.code)
        return np.frombuffer(data, dtype)[0].item() if len(data) == dtype.itemsize else Ignored()
    return Ignored()


def _dictionary(*factory: object) -> dict[Any, Any]:
    """Return an empty dictionary. It takes the place of a defaultdict."""
    return {}


def _harmless() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a file may name beside tensors: the name in the file, and what is built instead.

    Training programs keep hyper-parameters beside the weights. Each entry builds a plain value and does nothing else.
    """
    allowed: dict[str, Callable[..., Any]] = {
        "argparse.Namespace": argparse.Namespace,
        "types.SimpleNamespace": types.SimpleNamespace,
        "typing.Any": Ignored,
        "collections.defaultdict": _dictionary,
        "lightning.fabric.utilities.data.AttributeDict": dict,
        "lightning_fabric.utilities.data.AttributeDict": dict,
        "pytorch_lightning.utilities.parsing.AttributeDict": dict,
        "torch.torch_version.TorchVersion": str,
        "numpy.dtype": NumberType,
        "numpy.ndarray": Ignored,
    }
    allowed |= {f"builtins.{kind.__name__}": kind for kind in _PLAIN}
    allowed |= {f"datetime.{kind.__name__}": kind for kind in (date, datetime, time, timedelta)}
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):  # of NumPy 2 and 1
        allowed |= {f"{module}.scalar": number, f"{module}._reconstruct": Ignored}
    for module in ("pathlib", "pathlib._local"):  # a path of another system cannot be built
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath"):
            allowed[f"{module}.{name}"] = PurePosixPath
        for name in ("WindowsPath", "PureWindowsPath"):
            allowed[f"{module}.{name}"] = PureWindowsPath
    for module, names in _OMEGACONF.items():
        allowed |= {f"omegaconf.{module}.{name}": Ignored for name in names}
    return [(item, name) for name, item in allowed.items()]


def read_pickle(path: Path, option: str) -> Any:
    """Read a PyTorch file, as data only.

    Args:
        path: The file.
        option: Option of the user, for messages.

    Raises:
        UserError: it is not a PyTorch file, is cut off, or contains code or objects besides plain values.
    """
    with open(path, "rb") as file:
        head = file.read(16)
    if not head.startswith((b"PK", b"\x80")):  # a zip archive, or the pickle of older versions
        raise UserError(f"{option} {path}: not a PyTorch file, it begins with {head!r}; is it a saved web page?")
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch raise different errors for a damaged file
        raise UserError(f"{option} {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return why a file cannot be read, and how to get one that can."""
    text = str(error)
    if "TorchScript" in text:
        return "TorchScript is code, which is not run; save the weights alone: torch.save(model.state_dict(), FILE)"
    if "weights_only" in text or "Unsupported" in text:
        named = _NAMED.search(text)
        example = f" ({named[1] or named[2]})" if named else ""
        return (
            f"not loaded, since it contains code or objects besides tensors{example}; where it was made, save the "
            "weights alone: torch.save(model.state_dict(), FILE)"
        )
    return f"damaged or cut off ({first_line(error)})"
