"""The data type of front-ends, which is always float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class Float32Module(nn.Module):
    """A module that keeps its data type when its encoder is moved to another, as by `half()`.

    Filters and windows in half precision would blur a spectrum by more than the network's own rounding. A move to
    another device is followed.
    """

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = function(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
