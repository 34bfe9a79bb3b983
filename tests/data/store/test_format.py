"""What the reader and the writer of a store share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.data.errors import StoreError
from distill.data.store.format import forecast_bytes, read_json, shard_is_done


def test_a_store_has_the_forecast_size() -> None:
    assert forecast_bytes(1_000, 768) == 1_000 * 768 * 2
    assert forecast_bytes(10, 3, "float32") == 120


def test_a_shard_is_done_when_its_files_have_the_stated_sizes(tmp_path: Path) -> None:
    sidecar = tmp_path / "00002.json"
    assert not shard_is_done(tmp_path, 2)
    (tmp_path / "00002.bin").write_bytes(b"1234")
    assert not shard_is_done(tmp_path, 2)  # the sidecar is written last
    sidecar.write_text(json.dumps({"bytes": 4}))
    assert shard_is_done(tmp_path, 2)
    sidecar.write_text(json.dumps({"bytes": 4, "frames": {"bytes": 3}}))
    assert not shard_is_done(tmp_path, 2)
    (tmp_path / "00002.frames.bin").write_bytes(b"123")
    assert shard_is_done(tmp_path, 2)
    for damaged in ('{"byt', "{}", json.dumps({"bytes": 5})):
        sidecar.write_text(damaged)
        assert not shard_is_done(tmp_path, 2)


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[1, 2")
    with pytest.raises(StoreError, match=r"plan\.json is damaged .* delete the store and embed again"):
        read_json(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("[1, 2]")
    assert read_json(tmp_path / "plan.json") == [1, 2]
