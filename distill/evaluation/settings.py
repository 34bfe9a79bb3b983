"""Settings of the protocol `finetune`, apart from its code, which imports lightning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning. They are fixed in advance: the state after the last epoch is scored, not the best one.

    Args:
        epochs: Number of passes over the training clips.
        learning_rate: Maximum learning rate. It rises in the first tenth of the steps, then falls as a cosine.
        batch_size: Clips in a batch.
    """

    epochs: int = 20
    learning_rate: float = 3e-4
    batch_size: int = 32
