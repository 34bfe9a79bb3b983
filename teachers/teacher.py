"""The base class of teachers: frozen encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.layers import take_layers
from distill.teachers.published import Published

if TYPE_CHECKING:
    from distill.data.store.reader import EmbeddingStore


class Teacher(Encoder):
    """A frozen encoder. A subclass sets `sample_rate`, assigns networks as usual, and writes `encode`.

    A teacher stays in evaluation mode, and each forward freezes every network that it holds. An objective keeps its
    teachers in `FrozenTeachers`, outside its own modules.

    Args:
        windows: How clips are cut that are longer than the network can process at once.

    Attributes:
        published: Sizes of the checkpoint that `source` names. None means that `source` names no single checkpoint.
        store: The store that embeddings are read from. None means that they are computed.
        inner_layers: Number of inner layers that the option `layer` can choose. 0: the teacher has no such option.
        drawn: Ids of the clips in the order of training, from which `sample` draws. Empty means all clips of the store.

    Raises:
        UserError: the windows are not valid.
    """

    published: Published | None = None
    store: EmbeddingStore | None = None
    inner_layers: int = 0
    drawn: Sequence[str] = ()

    def __init__(self, windows: Windows = Windows()) -> None:
        super().__init__()
        self.windows = _windows(windows)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def freeze(self) -> Self:
        """Put all networks into evaluation mode, and let no parameter require a gradient."""
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch given at any sample rate, frozen and without gradient."""
        self.freeze()  # at each call, because a network may have been added since the last one
        return super().forward(batch)

    def limit_windows(self, max_seconds: float) -> None:
        """Refuse windows longer than the network's input of `max_seconds`, which would be cut without notice.

        Raises:
            UserError: the windows are longer.
        """
        self.longest_window = max_seconds
        if self.windows.seconds > max_seconds:
            raise UserError(
                f"--teacher.windows.seconds {self.windows.seconds:g}: must be at most {max_seconds:g}, "
                "the seconds that the network processes at once"
            )

    def take_layers(
        self, blocks: nn.ModuleList, last: nn.Module, layer: int | Sequence[int] | None, combine: str
    ) -> bool:
        """Set `inner_layers`, and replace the output of a network by those of its layers, as in teachers/layers.py."""
        self.inner_layers = len(blocks)
        return take_layers(blocks, last, layer, combine)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts in the space of the clip embeddings, with a text tower. Shape (texts, clip_dim), float32.

        Raises:
            UserError: the teacher has no text tower.
        """
        raise UserError(
            f"{type(self).__name__} has no text tower; with it, a sound is searched by a sound, not by a text"
        )

    def check_crop(self, crop: Mapping[str, object]) -> None:
        """Raise UserError if stored embeddings were computed with another crop. Computed ones pass.

        Args:
            crop: `crop_seconds` and `crop_position`, as in the store's fingerprint.
        """

    def sample(self, clips: int, frames: bool = False) -> NDArray[np.float32] | None:
        """Return stored embeddings of at most `clips` clips. None means that embeddings are computed.

        Args:
            clips: Largest number of clips.
            frames: Return frame embeddings instead of clip embeddings.

        Returns:
            Shape (rows, dim).
        """
        return None


def _windows(windows: Windows | Mapping[str, Any]) -> Windows:
    """Return windows as settings, given as such or as the mapping in config.yaml."""
    if isinstance(windows, Windows):
        return windows
    try:
        return Windows(**windows)
    except (TypeError, ValueError) as error:
        raise UserError(f"--teacher.windows: {error}") from error
