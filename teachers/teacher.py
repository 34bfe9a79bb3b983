"""What a teacher is: an encoder that never learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.published import Published

if TYPE_CHECKING:
    from distill.data.store.reader import EmbeddingStore


class Teacher(Encoder):
    """A frozen encoder. Subclass it, set `sample_rate`, assign networks as usual, and write `encode`.

    Every network that is assigned to a teacher is frozen, put into evaluation mode, and kept where no optimiser,
    checkpoint, DDP wrapper or `train()` call looks; only moves to a device or dtype reach it.

    Args:
        windows: How clips are cut that are longer than the network should see at once.

    Attributes:
        published: Sizes of the checkpoint that `source` names; None where there is no such one.

    Raises:
        UserError: the windows cannot be used.
    """

    published: Published | None = None
    store: EmbeddingStore | None = None
    drawn: Sequence[str] = ()

    def check_crop(self, crop: Mapping[str, object]) -> None:
        """Raise UserError if stored embeddings were computed with another crop. Computed ones pass."""

    def __init__(self, windows: Windows = Windows()) -> None:
        super().__init__()
        self.__dict__["_networks"] = {}
        self.windows = _windows(windows)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module):
            self.__dict__["_networks"][name] = value.eval().requires_grad_(False)
        elif isinstance(value, nn.Parameter):
            raise TypeError(f"{type(self).__name__}.{name}: put a teacher's parameters into an nn.Module")
        elif isinstance(value, list | tuple) and any(isinstance(part, nn.Module) for part in value):
            raise TypeError(f"{type(self).__name__}.{name}: put a teacher's networks into an nn.ModuleList")
        else:
            super().__setattr__(name, value)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As assigning it."""
        setattr(self, name, module)

    register_module = add_module

    def __getattr__(self, name: str) -> Any:
        networks = self.__dict__.get("_networks", {})
        return networks[name] if name in networks else super().__getattr__(name)

    def limit_windows(self, longest: float) -> None:
        """Refuse windows that the network would cut without a word: it sees `longest` seconds at once.

        Raises:
            UserError: the windows are longer.
        """
        self.longest_window = longest
        if self.windows.seconds > longest:
            raise UserError(
                f"--teacher.windows.seconds {self.windows.seconds:g}: the network sees {longest:g} s at once; "
                "that or less is wanted"
            )

    @property
    def networks(self) -> nn.ModuleDict:
        """All networks of the teacher, for counting and hashing their weights."""
        return nn.ModuleDict(self.__dict__["_networks"])

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU for a teacher without any."""
        networks = self.networks
        tensors = [*networks.parameters(), *networks.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.networks.parameters())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Teacher:
        for network in self.__dict__["_networks"].values():
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def forward(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch given at any sample rate, without gradient."""
        return super().forward(batch)


def _windows(value: Windows | Mapping[str, Any]) -> Windows:
    """Windows from themselves or from what config.yaml holds of them."""
    if isinstance(value, Windows):
        return value
    try:
        return Windows(**value)
    except (TypeError, ValueError) as error:
        raise UserError(f"--teacher.windows: {error}") from error
