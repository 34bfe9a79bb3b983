"""Alarms of a run: signs that the student does not learn, in one line at once and again at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tqdm import tqdm

from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.metrics_file import VALIDATION

_FIRST_SHARE = 0.1  # of the steps; a student at its initial weights may look collapsed
_HALF = 0.5
_CONSTANT_COSINE = 0.95  # mean cosine of two clips, above which an embedding is nearly constant
_COLLAPSED_RANK = 2.0
_FALL = 0.05  # of the agreement, from its best


def alarms_of(measured: Mapping[str, float], agreements: Sequence[float], done: float) -> dict[str, str]:
    """Return the alarms of one validation by kind; each is a line.

    Args:
        measured: Held-out measurements by name: "mean_cosine", "effective_rank", "explained" or "recall". Those that
            the objective does not observe are missing.
        agreements: Share explained (or recall) of each validation so far, in order.
        done: Share of the steps that is done, from 0 to 1.
    """
    lines: dict[str, str] = {}
    if done < _FIRST_SHARE:
        return lines
    if (cosine := measured.get("mean_cosine", 0.0)) > _CONSTANT_COSINE:
        lines["constant"] = f"the student's embedding is nearly constant (mean cosine of two clips {cosine:.3f})"
    if (rank := measured.get("effective_rank", _COLLAPSED_RANK)) < _COLLAPSED_RANK:
        lines["rank"] = f"the student's embedding has collapsed to few directions (effective rank {rank:.1f})"
    if agreements and max(agreements) - agreements[-1] > _FALL:
        best, last = max(agreements), agreements[-1]
        lines["fall"] = f"the held-out agreement with the teacher has fallen from {best:.2f} to {last:.2f}"
    if done >= _HALF and measured.get("explained", 1.0) <= 0:
        lines["mean"] = "the student predicts no better than the mean of the teacher's embeddings"
    return lines


class Alarms(L.Callback):
    """Callback that prints an alarm when a sign appears for the first time.

    Args:
        data: The run's data.

    Attributes:
        lines: Alarms of the last validation, by kind.
    """

    def __init__(self, data: AudioData) -> None:
        self.data = data
        self.lines: dict[str, str] = {}
        self._printed: set[str] = set()
        self._agreements: list[float] = []

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compute the alarms of this validation, and print the new ones."""
        metrics = trainer.callback_metrics
        names = ("mean_cosine", "effective_rank", "explained", "recall")
        measured = {name: float(metrics[VALIDATION + name]) for name in names if VALIDATION + name in metrics}
        self._agreements += [measured[name] for name in ("explained", "recall") if name in measured][:1]
        self.lines = alarms_of(measured, self._agreements, self.data.batches_done / self.data.batches)
        for kind, line in self.lines.items():
            if kind not in self._printed:
                self._printed.add(kind)
                tqdm.write(f"alarm at step {self.data.batches_done:,}: {line}")
