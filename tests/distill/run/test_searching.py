"""Search of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.run.searching import nearest
from tests.data.store.stores import IDS, VECTORS, write_all


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_the_nearest_rows_are_those_of_a_slow_search(count: int, standardised: bool, tmp_path: Path) -> None:
    store, vectors = write_all(tmp_path), VECTORS
    query = np.random.default_rng(1).standard_normal(6).astype(np.float32)
    mean, scale = (vectors.mean(0), vectors.std(0)) if standardised else (0, 1)
    found = nearest(store, query, count, standardised)
    wanted, cosines = (query - mean) / scale, {}
    for name, vector in zip(IDS, (vectors - mean) / scale, strict=True):
        cosines[name] = vector @ wanted / np.linalg.norm(vector) / np.linalg.norm(wanted)
    expected = sorted(cosines, key=lambda name: -cosines[name])[:count]
    assert [match.id for match in found] == expected
    assert [match.cosine for match in found] == pytest.approx([cosines[name] for name in expected], abs=1e-4)


def test_a_constant_column_does_not_count(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[:, 2] = 3.0
    writer = StoreWriter(tmp_path, IDS, 6, {"encoder": "test"}, "float32", rows_per_shard=10)
    for shard in writer.missing_shards():
        writer.write(shard, {IDS[row]: vectors[row] for row in writer.rows(shard)})
    store = EmbeddingStore(tmp_path)
    query = vectors[7].copy()
    query[2] += 1e-4  # a small error of a student
    assert nearest(store, query, 1, standardised=True)[0].id == IDS[7]
