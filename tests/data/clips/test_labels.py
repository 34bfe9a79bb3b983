"""Labels of clips as rows of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.clips.labels import multi_hot
from distill.data.clips.manifest import Row

COLUMNS = {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("labels", "annotated", "expected"),
    [
        (("c", "a"), (), [1, 0, 1]),
        ((), (), [0, 0, 0]),
        (("b",), ("a", "b"), [0, 1, np.nan]),
        ((), ("c",), [np.nan, np.nan, 0]),
    ],
)
def test_a_label_is_present_or_absent_or_not_annotated(
    labels: tuple[str, ...], annotated: tuple[str, ...], expected: list[float]
) -> None:
    found = multi_hot(Row("x", Path("x.wav"), labels=labels, annotated=annotated), COLUMNS)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_label_without_a_column_is_refused() -> None:
    with pytest.raises(KeyError, match="d"):
        multi_hot(Row("x", Path("x.wav"), labels=("d",)), COLUMNS)
