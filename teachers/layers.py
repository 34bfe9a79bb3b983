"""Inner layers of a transformer, whose outputs take the place of its last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.errors import UserError, require_one_of

COMBINATIONS = ("mean", "concat")
LATER_OPTIONS: Mapping[str, Any] = {"layer": None, "combine": "mean"}
"""Options of the transformers that an earlier version did not have, with the values that change nothing."""


def layer_numbers(layer: int | Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Return the numbers of the chosen layers; empty for none.

    Args:
        layer: Number of a layer, or several, from 1 to `depth`.
        depth: Number of layers of the network.

    Raises:
        UserError: the network has no such layer, or a layer is named twice.
    """
    if layer is None:
        return ()
    numbers = (layer,) if isinstance(layer, int) else tuple(layer)
    if wrong := [number for number in numbers if not 1 <= number <= depth]:
        raise UserError(f"--teacher.layer {wrong[0]}: the network has the layers 1 to {depth}")
    if not numbers or len(set(numbers)) < len(numbers):
        raise UserError(f"--teacher.layer {list(numbers)}: must be one layer, or several different ones")
    return numbers


def combined(outputs: Sequence[Tensor], combine: str) -> Tensor:
    """Return the mean of tensors (..., dim) or their concatenation (..., dim of all)."""
    return torch.cat(tuple(outputs), dim=-1) if combine == "concat" else torch.stack(tuple(outputs)).mean(0)


def take_layers(blocks: nn.ModuleList, last: nn.Module, layer: int | Sequence[int] | None, combine: str) -> bool:
    """Replace the output of a network by those of its inner layers, as they are before the last norm.

    Args:
        blocks: The layers in their order. Each returns tokens (batch, tokens, dim), or a tuple that begins with them.
            Those after the highest chosen one are deleted, as nothing needs them.
        last: The module whose output the network returns.
        layer: Number of a layer, or several, from 1 on. None: nothing is replaced.
        combine: "mean" or "concat" of several layers.

    Returns:
        Whether the output is replaced. A head of the network then has no meaning.

    Raises:
        UserError: the network has no such layer.
    """
    require_one_of("--teacher.combine", combine, COMBINATIONS)
    numbers = layer_numbers(layer, len(blocks))
    if not numbers:
        return False
    del blocks[max(numbers) :]
    outputs = _Outputs(numbers, combine)
    for number in numbers:
        blocks[number - 1].register_forward_hook(_Record(outputs, number))
    last.register_forward_hook(outputs)
    return True


class _Outputs:
    """The outputs of the chosen layers in the present forward. As a hook, it returns them in place of an output."""

    def __init__(self, numbers: tuple[int, ...], combine: str) -> None:
        self.numbers, self.combine = numbers, combine
        self.tokens: dict[int, Tensor] = {}

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Tensor:
        tokens, self.tokens = self.tokens, {}
        return combined([tokens[number] for number in self.numbers], self.combine)


class _Record:
    """A hook that keeps the output of a layer. It is an object, so that a copied network has hooks of its own."""

    def __init__(self, outputs: _Outputs, number: int) -> None:
        self.outputs, self.number = outputs, number

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.outputs.tokens[self.number] = output[0] if isinstance(output, tuple) else output
