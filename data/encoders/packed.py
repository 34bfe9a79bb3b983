"""Linear layers with weights in the layout of oneDNN, for inference on AMD processors.

PyTorch computes a linear layer in float32 by MKL, which does not use all of an AMD processor: 81 to 98 GFLOP/s on one
core of Zen 4, where oneDNN reaches 96 to 110 with weights that it has laid out before (BENCHMARKS.md). The result is
that of `nn.Linear`, up to the order of summation.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_MAX_BYTES = 2**30  # of the weights of a network, which are held twice
_TYPES = (torch.float32, torch.bfloat16)

M = TypeVar("M", bound=nn.Module)


class PackedLinear(nn.Linear):
    """A linear layer that computes with a copy of its weights in the layout of oneDNN.

    `pack` makes plain layers to such ones. It computes as a plain layer where a gradient is needed, on other devices
    than the CPU, in other types than float32 and bfloat16, in graphs that are exported or compiled, and while
    operations are counted, because counters know neither the operator nor the layout.
    """

    _layouts: dict[torch.dtype, tuple[tuple[int, int], Tensor, Tensor | None]]

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute (..., out_features) from (..., in_features)."""
        dtype = inputs.dtype
        if torch.is_autocast_enabled("cpu") and inputs.device.type == "cpu":
            dtype = torch.get_autocast_dtype("cpu")
        if not self._can_use_layout(inputs, dtype):
            return F.linear(inputs, self.weight, self.bias)
        weight, bias = self._layout(dtype)
        return torch.ops.mkldnn._linear_pointwise(inputs.to(dtype), weight, bias, "none", [], "")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the copies of the weights, which can be neither copied nor pickled."""
        return {**self.__dict__, "_layouts": {}}

    def _can_use_layout(self, inputs: Tensor, dtype: torch.dtype) -> bool:
        if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():
            return False
        if inputs.device.type != "cpu" or self.weight.device.type != "cpu":
            return False
        if torch.is_grad_enabled() and (inputs.requires_grad or self.weight.requires_grad):
            return False
        return dtype in _TYPES and inputs.numel() > 0

    def _layout(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Return weights and bias for inputs of a type, laid out again if the weights have changed."""
        version = 0 if self.weight.is_inference() else self.weight._version
        state = version, self.weight.data_ptr()
        if dtype not in self._layouts or self._layouts[dtype][0] != state:
            weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().to(dtype).contiguous())
            bias = None if self.bias is None else self.bias.detach().to(dtype)
            self._layouts[dtype] = state, weight, bias
        return self._layouts[dtype][1:]


def pack(network: nn.Module) -> None:
    """Pack the linear layers of a network in place: its objects and parameters stay the same.

    Nothing is done where that gains nothing: on other processors than AMD's, on other devices than the CPU, and where
    the copies of the weights would take more than 1 GiB.
    """
    layers = _layers(network, nn.Linear)  # a subclass may compute something else, or be read by its owner
    weights = [layer.weight for layer in layers]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    if not gains() or not 0 < size <= _MAX_BYTES or any(weight.device.type != "cpu" for weight in weights):
        return
    for layer in layers:
        layer.__class__, layer.__dict__["_layouts"] = PackedLinear, {}


def unpack(network: nn.Module) -> None:
    """Make packed layers of a network plain again, in place."""
    for layer in _layers(network, PackedLinear):
        del layer.__dict__["_layouts"]
        layer.__class__ = nn.Linear  # type: ignore[assignment]


def _layers(network: nn.Module, kind: type[M]) -> list[M]:
    """Return the layers of a class, without its subclasses."""
    return [module for module in network.modules() if type(module) is kind]


@cache
def gains() -> bool:
    """Return whether oneDNN is faster than MKL here: on AMD processors with AVX-512 or AVX2, with both libraries."""
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    has_both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return has_both and "AuthenticAMD" in described and hasattr(torch.ops.mkldnn, "_linear_pointwise")
