"""A store of 25 clips in three shards, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter

IDS = [f"clip{row:03d}" for row in range(25)]


VECTORS = np.random.default_rng(0).standard_normal((25, 6)).astype(np.float32)


def writer(path: Path, dtype: str = "float32", **fingerprint: object) -> StoreWriter:
    return StoreWriter(path, IDS, 6, {"encoder": "test", **fingerprint}, dtype, rows_per_shard=10)


def write_all(path: Path, dtype: str = "float32") -> EmbeddingStore:
    store = writer(path, dtype)
    for shard in store.missing_shards():
        store.write(shard, {IDS[row]: VECTORS[row] for row in store.rows(shard)})
    return EmbeddingStore(path)
