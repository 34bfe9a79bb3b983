"""Search of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.run.searching import nearest
from tests.data.store.stores import IDS, VECTORS, write_all


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_the_nearest_rows_are_those_of_a_slow_search(count: int, centred: bool, tmp_path: Path) -> None:
    store, vectors = write_all(tmp_path), VECTORS
    query = np.random.default_rng(1).standard_normal(6).astype(np.float32)
    mean = vectors.mean(0) if centred else 0
    found = nearest(store, query, count, centred)
    cosines = {}
    for name, vector in zip(IDS, vectors - mean, strict=True):
        cosines[name] = vector @ (query - mean) / np.linalg.norm(vector) / np.linalg.norm(query - mean)
    expected = sorted(cosines, key=lambda name: -cosines[name])[:count]
    assert [match.id for match in found] == expected
    assert [match.cosine for match in found] == pytest.approx([cosines[name] for name in expected], abs=1e-4)
