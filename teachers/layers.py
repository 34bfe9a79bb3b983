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
    outputs = LayerOutputs(blocks, numbers)
    del blocks[max(numbers) :]
    last.register_forward_hook(_Replace(outputs, combine))
    return True


class LayerOutputs:
    """The outputs of chosen layers in the present forward, recorded by hooks.

    Args:
        blocks: The layers in their order. Each returns tokens (batch, tokens, dim), or a tuple that begins with them.
        numbers: Numbers of the chosen layers, from 1 on.
    """

    def __init__(self, blocks: Sequence[nn.Module] | nn.ModuleList, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        self._tokens: dict[int, Tensor] = {}
        for number in self.numbers:
            blocks[number - 1].register_forward_hook(_Record(self._tokens, number))

    def take(self) -> list[Tensor]:
        """Return the outputs in the order of `numbers`, and forget them."""
        tokens = [self._tokens[number] for number in self.numbers]
        self._tokens.clear()
        return tokens


class _Replace:
    """A hook that returns the recorded outputs in place of an output."""

    def __init__(self, outputs: LayerOutputs, combine: str) -> None:
        self.outputs, self.combine = outputs, combine

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Tensor:
        return combined(self.outputs.take(), self.combine)


class _Record:
    """A hook that keeps the output of a layer. It is an object, so that a copied network has hooks of its own."""

    def __init__(self, tokens: dict[int, Tensor], number: int) -> None:
        self.tokens, self.number = tokens, number

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.tokens[self.number] = output[0] if isinstance(output, tuple) else output
