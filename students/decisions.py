"""From logits to probabilities and decisions. Without PyTorch, so that an exported student needs none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONE_OF, MANY = "one of", "many"  # each clip has exactly one of the classes; each class is a separate decision
DEFAULT_THRESHOLD = 0.5


def probabilities_of(logits: NDArray[np.floating], kind: str) -> NDArray[np.float64]:
    """Return the probabilities of logits (clips, classes): softmax for "one of", sigmoid for "many"."""
    wide = logits.astype(np.float64)
    return np.exp(log_softmax(wide)) if kind == ONE_OF else np.exp(-np.logaddexp(0, -wide))


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities of "one of" (clips, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
