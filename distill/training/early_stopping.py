"""The end of a run whose held-out loss does not fall any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.metrics_file import VALIDATION

_FIRST_SHARE = 0.5  # no run ends before this share of its steps
_PATIENCE_SHARE = 0.25  # share of the steps without a lower loss, after which a run ends
_PATIENCE = 5  # validations without a lower loss that are needed too, as a single one is noisy


def has_ended(losses: Sequence[tuple[int, float]], steps: int) -> bool:
    """Return whether a run should end: it is a function of steps and held-out losses only.

    Args:
        losses: Step and held-out loss of each validation, in order.
        steps: Number of steps of the whole run.
    """
    if not losses or losses[-1][0] < _FIRST_SHARE * steps:
        return False
    best = min(range(len(losses)), key=lambda index: losses[index][1])
    waited = losses[-1][0] - losses[best][0]
    return waited >= _PATIENCE_SHARE * steps and len(losses) - 1 - best >= _PATIENCE


class EarlyStopping(L.Callback):
    """Callback that ends a run whose held-out loss has not fallen in the last quarter of its steps.

    Args:
        data: The run's data.

    Attributes:
        ended_at: Step at which the run was ended; 0 otherwise.
    """

    def __init__(self, data: AudioData) -> None:
        self.data, self.ended_at = data, 0
        self._losses: list[tuple[int, float]] = []

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Remember the held-out loss, and stop the trainer if it does not fall any more."""
        loss = trainer.callback_metrics.get(f"{VALIDATION}loss")
        if loss is None or trainer.state.fn != "fit":
            return
        self._losses.append((self.data.batches_done, float(loss)))
        if self.data.batches_done < self.data.batches and has_ended(self._losses, self.data.batches):
            self.ended_at, trainer.should_stop = self.data.batches_done, True

    def state_dict(self) -> dict[str, Any]:
        """Return the losses so far."""
        return {"losses": [list(pair) for pair in self._losses]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the losses of the checkpoint."""
        self._losses = [(int(step), float(loss)) for step, loss in state["losses"]]
