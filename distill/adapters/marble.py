"""MARBLE: an encoder by class path and arguments. The contract: marble/core/base_encoder.py of MARBLE."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from distill.adapters.timeline import Timeline
from distill.data.errors import require_one_of
from distill.students.saved import load_student


class StudentEncoder(nn.Module):
    """A student as an encoder of MARBLE, which counts as one layer.

    Args:
        student: Run folder, student folder or hub id.
        train_mode: "freeze" keeps the student as it is, in evaluation mode; "full" trains it.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Attributes:
        NAME: Class of the student.
        SAMPLING_RATE: Rate of the audio that it gets, in Hz.
        TOKEN_RATE: Frames per second.
        NUM_FEATURES: Size of the embedding of a frame; also `num_features`.
        N_TRANSFORMER_LAYERS: 1; also `n_transformer_layers`.

    Raises:
        UserError: there is no such student, or the mode is unknown.
    """

    def __init__(self, student: str, train_mode: str = "freeze", allow_import: str | None = None) -> None:
        super().__init__()
        require_one_of("train_mode", train_mode, ("freeze", "full"))
        loaded = load_student(student, allow_import)
        self.is_frozen = train_mode == "freeze"
        self.timeline = Timeline(loaded, loaded.sample_rate).requires_grad_(not self.is_frozen)
        self.NAME, self.SAMPLING_RATE = type(loaded).__name__, loaded.sample_rate
        self.TOKEN_RATE = 1 / self.timeline.hop
        self.NUM_FEATURES = self.num_features = loaded.frame_dim
        self.N_TRANSFORMER_LAYERS = self.n_transformer_layers = 1
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode. A frozen student stays in evaluation mode, since batch normalisation would change it."""
        return super().train(mode and not self.is_frozen)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        """Return the frames (batch, time, dim) of clips (batch, samples), as the only layer."""
        return (self.timeline(x)[0],)
