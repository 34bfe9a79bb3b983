"""The spaces of the teachers: the maps by which a student answers with vectors of its teacher's space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data.errors import UserError


class Space(nn.Module):
    """The map from a student's clip embedding into the space of a teacher.

    The result can be compared with the teacher's own vectors: in an index of them, or with CLAP's vectors of texts.

    Args:
        layers: Weight (outputs, inputs) and bias (outputs,) of each linear layer of the projector. Hardswish lies
            between two layers.
        matrix: Maps a prediction to the teacher's scale. Shape (dim, dim).
        mean: Mean of the teacher's vectors, which is added then. Shape (dim,).
        norm: Length that a prediction gets first. 0: it keeps its own. A loss of cosines leaves the length open.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], matrix: Tensor, mean: Tensor, norm: float) -> None:
        super().__init__()
        for number, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight{number}", weight.detach().float())
            self.register_buffer(f"bias{number}", bias.detach().float())
        self.register_buffer("matrix", matrix.detach().float())
        self.register_buffer("mean", mean.detach().float())
        self.register_buffer("norm", torch.tensor(float(norm)))
        self.matrix: Tensor
        self.mean: Tensor
        self.norm: Tensor
        self.depth, self._length = len(layers), float(norm)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Space:
        """Return the space with a state dict. Raises KeyError if it is none of a space."""
        depth = sum(name.startswith("weight") for name in state)
        layers = [(state[f"weight{number}"], state[f"bias{number}"]) for number in range(depth)]
        return cls(layers, state["matrix"], state["mean"], float(state["norm"]))

    @property
    def dim(self) -> int:
        """Size of a vector of the teacher."""
        return len(self.mean)

    def forward(self, clip: Tensor) -> Tensor:
        """Map clip embeddings (batch, clip_dim) into the teacher's space (batch, dim)."""
        vectors = clip
        for number in range(self.depth):
            vectors = F.hardswish(vectors) if number else vectors
            vectors = F.linear(vectors, getattr(self, f"weight{number}"), getattr(self, f"bias{number}"))
        if self._length > 0:  # a number, as a graph for other runtimes cannot branch on a tensor
            vectors = F.normalize(vectors, dim=-1) * self._length
        return vectors @ self.matrix + self.mean


def space_of(spaces: Mapping[str, Space], name: str) -> Space:
    """Return the space of a name.

    Raises:
        UserError: the student does not answer in this space.
    """
    if name in spaces:
        return spaces[name]
    known = f"it has {', '.join(sorted(spaces))}" if spaces else "it has none"
    raise UserError(
        f"--space {name}: the student does not answer in this space; {known}. A space is kept for each teacher whose "
        "clip embeddings the student was trained to imitate"
    )
