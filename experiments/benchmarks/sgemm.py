"""The matrix products of a function, and how long PyTorch takes for them alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from measure import median
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REPEATS = 5


class Product(NamedTuple):
    """A product of (batch, rows, inner) and (batch, inner, columns)."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.inner * self.columns


class _Recorder(TorchDispatchMode):
    """Counts the products of every operator that is one, attention and convolution included."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result, name = func(*args, **(kwargs or {})), func.__name__.split(".")[0]
        if name in ("mm", "addmm", "bmm", "baddbmm"):
            self._add_product(*args[name in ("addmm", "baddbmm") :][:2])
        elif name.startswith("_scaled_dot_product"):
            query, key, value = args[:3]
            heads = math.prod(query.shape[:-2])
            self.found[Product(heads, query.shape[-2], query.shape[-1], key.shape[-2])] += 1
            self.found[Product(heads, query.shape[-2], key.shape[-2], value.shape[-1])] += 1
        elif name == "convolution":
            weight, groups = args[1], args[8]
            outputs = math.prod(result.shape[2:]) * result.shape[0]
            self.found[Product(groups, outputs, weight[0].numel(), len(weight) // groups)] += 1
        return result

    def _add_product(self, left: Tensor, right: Tensor) -> None:
        batch = left.shape[0] if left.dim() == 3 else 1
        self.found[Product(batch, *left.shape[-2:], right.shape[-1])] += 1


def products(function: Callable[[], object], gradients: bool = False) -> Counter[Product]:
    """Return how often `function` computes each product, or with `gradients` those of its backward pass too."""
    # Inference mode would hide the products inside a linear layer.
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), _Recorder() as recorder:
        function()
    return recorder.found


def sgemm_seconds(found: Counter[Product], time_of: Callable[..., float] = median) -> float:
    """Return the time of PyTorch's float32 products alone at these sizes, by `time_of(function, repeats)`."""
    seconds = 0.0
    for product, count in found.items():
        left = torch.randn(product.batch, product.rows, product.inner)
        right = torch.randn(product.batch, product.inner, product.columns)
        if product.batch == 1:
            left, right = left[0], right[0]
        out = left @ right

        def multiply(left: Tensor = left, right: Tensor = right, out: Tensor = out) -> None:
            torch.matmul(left, right, out=out)

        seconds += count * time_of(multiply, REPEATS)
    return seconds
