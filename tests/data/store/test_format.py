"""What the reader and the writer of a store share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.data.errors import StoreError
from distill.data.files import write_json
from distill.data.store.format import ShardFiles, Sidecar, forecast_bytes, read_json


def test_a_store_has_the_forecast_size() -> None:
    assert forecast_bytes(1_000, 768) == 1_000 * 768 * 2
    assert forecast_bytes(10, 3, "float32") == 120


def test_a_shard_has_a_sidecar_when_its_files_have_the_stated_sizes(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path, 2)
    assert Sidecar.read(files) is None
    files.vectors.write_bytes(b"1234")
    assert Sidecar.read(files) is None  # the sidecar is written last
    facts = {"rows": 1, "bytes": 4, "set_aside": [["a", "malformed", "cut off"], ["b", "removed", ""]]}
    files.sidecar.write_text(json.dumps(facts))
    sidecar = Sidecar.read(files)
    assert sidecar is not None
    assert sidecar.rows == 3
    assert [clip.id for clip in sidecar.set_aside] == ["a", "b"]
    files.sidecar.write_text(json.dumps({**facts, "frames": {"bytes": 3}}))
    assert Sidecar.read(files) is None
    files.frames.write_bytes(b"123")
    assert Sidecar.read(files) is not None
    for damaged in ('{"byt', "{}", json.dumps({**facts, "bytes": 5}), json.dumps({"rows": 1, "bytes": 4})):
        files.sidecar.write_text(damaged)
        assert Sidecar.read(files) is None


def test_a_sidecar_is_current_until_it_is_replaced(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path, 0)
    files.vectors.write_bytes(b"1234")
    write_json(files.sidecar, {"rows": 1, "bytes": 4, "set_aside": []})
    sidecar = Sidecar.read(files)
    assert sidecar is not None
    assert sidecar.is_current(files)
    write_json(files.sidecar, {"rows": 1, "bytes": 4, "set_aside": []})
    assert not sidecar.is_current(files)
    files.sidecar.unlink()
    assert not sidecar.is_current(files)


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[1, 2")
    with pytest.raises(StoreError, match=r"plan\.json is damaged .* delete the store and embed again"):
        read_json(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("[1, 2]")
    assert read_json(tmp_path / "plan.json") == [1, 2]
