"""The report of `distill cluster`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.commands.cluster import _compared, _head
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
    head, _ = _head(_compared(EmbeddingStore(tmp_path)), Data(""), tmp_path)
    assert head.sum() == pytest.approx(100, abs=2)
    assert head[:100].mean() > 0.97


def test_a_large_store_is_compared_on_random_clips_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    ids = [f"{number:04d}" for number in range(400)]
    StoreWriter(tmp_path, ids, 8, {"sample_rate": 16_000}, "float32", rows_per_shard=len(ids)).write(
        0, dict(zip(ids, points, strict=True))
    )
    monkeypatch.setattr("distill.commands.cluster._COMPARED", 300)
    clustering = distill.cluster(str(tmp_path), clusters=4)
    assert len(clustering.labels) == 400
    printed = capsys.readouterr().out
    assert "compared on 300 random clips of 400" in printed
    uniform = next(line for line in printed.splitlines() if line.startswith("uniform"))
    assert uniform.split() == ["uniform", "0.100", "300"]
