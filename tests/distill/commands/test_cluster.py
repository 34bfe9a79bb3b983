"""The report of `distill cluster`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.commands.cluster import _head
from distill.data.clips.sources import Data
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter


@pytest.mark.parametrize("neighbourhood", [10_000, 300])
def test_the_head_without_labels_is_what_is_densest(
    neighbourhood: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((1000, 8)).astype(np.float32)
    points[:100] *= 0.05
    ids = [f"{number:04d}" for number in range(1000)]
    writer = StoreWriter(tmp_path, ids, 8, {"sample_rate": 16_000}, "float32", rows_per_shard=len(ids))
    writer.write(0, dict(zip(ids, points, strict=True)))
    monkeypatch.setattr("distill.commands.cluster._NEIGHBOURHOOD", neighbourhood)
    head, _ = _head(EmbeddingStore(tmp_path), Data(""))
    assert head.sum() == pytest.approx(100, abs=2)
    assert head[:100].mean() > 0.97
