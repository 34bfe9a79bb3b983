"""Multi-hot labels of clips, for batches and for scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.manifest import Row


def multi_hot(clip: Row, columns: Mapping[str, int]) -> NDArray[np.float32]:
    """Return the labels of a clip: 1 present, 0 absent, NaN not annotated. Shape (classes,).

    Args:
        clip: Its labels must all be in `columns`.
        columns: Column of each class by its name.

    Raises:
        KeyError: a label of the clip is not in `columns`.
    """
    labels = np.full(len(columns), np.nan if clip.annotated else 0.0, dtype=np.float32)
    labels[[columns[label] for label in clip.annotated]] = 0.0
    labels[[columns[label] for label in clip.labels]] = 1.0
    return labels
