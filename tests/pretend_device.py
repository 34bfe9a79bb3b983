"""A pretend device: tensors that compute on the CPU, and a count of what would wait for a GPU.

The tensors say that their device is "meta", so that autograd and factories treat them as those of another device.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")

_ATEN = torch.ops.aten
_READS = {
    _ATEN._local_scalar_dense.default: "read",
    _ATEN.item.default: "read",
    _ATEN.is_nonzero.default: "read",
    _ATEN.equal.default: "read",
    _ATEN.nonzero.default: "size that depends on values",
    _ATEN.masked_select.default: "size that depends on values",
    _ATEN._unique2.default: "size that depends on values",
    _ATEN.unique_dim.default: "size that depends on values",
    _ATEN.unique_consecutive.default: "size that depends on values",
    _ATEN.bincount.default: "size that depends on values",
    _ATEN._linalg_svd.default: "decomposition",
    _ATEN._linalg_eigh.default: "decomposition",
}
_INDEXED = (_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._index_put_impl_.default)
_COPIES = {  # source and target of a copy
    _ATEN._to_copy.default: lambda args, kwargs: (args[0], kwargs.get("device")),
    _ATEN.copy_.default: lambda args, kwargs: (args[1], args[0].device),
}
_OURS = Path(__file__).parents[1]


class Pretended(Tensor):
    """A tensor on the pretend device. `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, layout=held.layout, device=DEVICE,
            requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held.detach()
        return made  # type: ignore[no-any-return]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.held})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU, also outside of `PretendDevice`, where nothing is counted."""
        return _computed(function, args, kwargs or {})


class PretendDevice(TorchDispatchMode):
    """The pretend device, for the calls inside of `with`.

    Attributes:
        waits: Number of calls of each line of our code that would wait for a GPU, by kind and line.
        to_host: Number of copies from the device to the CPU.
        to_device: Number of copies from the CPU to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.to_host = self.to_device = 0

    def __enter__(self) -> PretendDevice:
        """Begin to count. Autocast knows no "meta"; it is off."""
        self._patch = patch.multiple(torch, autocast=_no_autocast, is_autocast_enabled=lambda device=None: False)
        self._patch.start()
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        """End to count."""
        super().__exit__(*error)
        self._patch.stop()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU, and count."""
        kwargs = kwargs or {}
        if kind := self._wait(function, args, kwargs):
            self.waits[f"{kind} {function} {_line()}"] += 1
        return _computed(function, args, kwargs)

    def _wait(self, function: Any, args: Any, kwargs: Mapping[str, Any]) -> str:
        """Return the kind of a call that waits for the device. Empty: it does not wait."""
        if function in _COPIES:
            return self._copy(*_COPIES[function](args, kwargs), kwargs.get("non_blocking") or args[2:3] == (True,))
        if not _any_pretended(args, kwargs):
            return ""
        indices = [index for index in args[1] if index is not None] if function in _INDEXED else []
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "size that depends on values"
        if any(index.device != DEVICE for index in indices):
            return "copy to the device"
        if function == _ATEN.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            return "size that depends on values"
        return _READS.get(function, "")

    def _copy(self, source: Tensor, target: Any, non_blocking: Any) -> str:
        if target is None or torch.device(target) == source.device:
            return ""
        to_host = source.device == DEVICE
        self.to_host, self.to_device = self.to_host + to_host, self.to_device + (not to_host)
        direction = "copy to the CPU" if to_host else "copy to the device"
        return "" if non_blocking else direction


def pretend(network: nn.Module) -> None:
    """Move the tensors of a module to the pretend device."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                moved = Pretended(parameter.detach().clone())
                module._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Pretended(buffer.clone())


def _computed(function: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Compute a call on the CPU. The result is on the pretend device if the call says so or an argument is."""
    target, given = kwargs.get("device"), _any_pretended(args, kwargs)
    pretended = given if target is None else torch.device(target) == DEVICE
    if not pretended and not given:
        return function(*args, **kwargs)
    _refuse_mixture(function, tree_flatten((args, kwargs))[0])
    inner_args, inner_kwargs = tree_map(_held, (args, dict(kwargs)))
    if target is not None:
        inner_kwargs["device"] = torch.device("cpu")
    found = function(*inner_args, **inner_kwargs)
    if function == _ATEN.copy_.default and not isinstance(args[0], Pretended):
        return args[0]
    if not pretended:
        return found
    wrapped = tree_map(lambda leaf: Pretended(leaf) if isinstance(leaf, Tensor) else leaf, found)
    return return_and_correct_aliasing(function, args, dict(kwargs), wrapped)


def _any_pretended(*values: Any) -> bool:
    return any(isinstance(leaf, Pretended) for leaf in tree_flatten(values)[0])


def _refuse_mixture(function: Any, leaves: list[Any]) -> None:
    """Raise as a GPU would, for an operation of tensors on two devices. Scalars may be on the CPU."""
    if function in _COPIES or function in _INDEXED:
        return
    devices = {leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}
    if len(devices) > 1:
        raise RuntimeError(f"{function}: expected all tensors to be on the same device, found {devices}")


@contextmanager
def _no_autocast(device_type: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    yield


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Pretended) else leaf


def _line() -> str:
    """Return file and line of the innermost call from our own code."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path != Path(__file__) and path.is_relative_to(_OURS) and "site-packages" not in path.parts:
            return f"{path.relative_to(_OURS)}:{frame.lineno}"
    return "?"
