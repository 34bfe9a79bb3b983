"""The plan of a store grows, and old plans are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill.data.errors import StoreError
from distill.data.store import plan
from distill.data.store.plan import Plan
from distill.data.store.texts import Texts

IDS = ["a.wav", "", "ü/ä.wav", "caf\udce9.wav", "line\nbreak.wav"]
FACTS = {"schema": 3, "dim": 4, "frame_dim": 2, "dtype": "float16"}


def made(folder: Path, ids: list[str] = IDS) -> Plan:
    made = Plan(FACTS, {"licence": "MIT"}, 3, Texts.of(ids))
    made.write(folder)
    return made


def old(folder: Path, ids: list[str] = IDS) -> None:
    """The plan of an earlier version, with all ids in JSON."""
    fingerprint = {**FACTS, "schema": 2, "plan": "abc", "windows": "def"}
    (folder / "plan.json").write_text(json.dumps({"fingerprint": fingerprint, "rows_per_shard": 3, "ids": ids}))


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    made(tmp_path)
    read = Plan.read(tmp_path)
    assert (read.fingerprint, read.origin, read.rows_per_shard) == (FACTS, {"licence": "MIT"}, 3)
    assert read.ids == IDS
    assert (read.row_format.dim, read.row_format.frame_dim, read.row_format.dtype.str) == (4, 2, "<f2")
    assert [read.rows(shard) for shard in range(read.shard_count)] == [range(3), range(3, 5)]
    assert read.ids_of(1) == IDS[3:]


def test_the_ids_are_not_in_the_json(tmp_path: Path) -> None:
    ids = [f"{number:036d}.wav" for number in range(2_000)]  # of 40 bytes
    made(tmp_path, ids)
    assert (tmp_path / "plan.json").stat().st_size < 500
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_000 * 49


@pytest.mark.parametrize("first", [[], IDS[:2]])
def test_a_plan_is_extended(first: list[str], tmp_path: Path) -> None:
    extended = made(tmp_path, first).extended(tmp_path, Texts.of(IDS[2:]))
    assert extended.ids == Plan.read(tmp_path).ids == [*first, *IDS[2:]]
    assert Plan.read(tmp_path).extended(tmp_path, Texts.of(["z"])).ids == Plan.read(tmp_path).ids


def test_a_plan_of_an_earlier_version_is_read_and_becomes_one_of_today(tmp_path: Path) -> None:
    old(tmp_path)
    assert Plan.read(tmp_path).ids == IDS
    assert Plan.read(tmp_path).fingerprint["plan"] == "abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]
    Plan.read(tmp_path).extended(tmp_path, Texts.of(["new"]))
    assert Plan.read(tmp_path).ids == [*IDS, "new"]
    assert Plan.read(tmp_path).fingerprint == FACTS  # the digests of the clips do not hold any more


@pytest.mark.parametrize("is_old", [False, True])
def test_a_kill_while_a_plan_is_extended_leaves_the_plan_of_before(
    is_old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old if is_old else made)(tmp_path)

    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    before = Plan.read(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            before.extended(tmp_path, Texts.of(["of a killed writer"]))
    assert Plan.read(tmp_path).ids == IDS
    Plan.read(tmp_path).extended(tmp_path, Texts.of(["x"]))
    assert Plan.read(tmp_path).ids == [*IDS, "x"]


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a store of embeddings"):
        Plan.read(tmp_path)
    made(tmp_path)
    content = (tmp_path / "ids.bin").read_bytes()
    (tmp_path / "ids.bin").write_bytes(content[:-1])
    with pytest.raises(StoreError, match=r"ids\.bin is damaged"):
        Plan.read(tmp_path)
    (tmp_path / "ids.ends").unlink()
    with pytest.raises(StoreError, match=r"ids\.ends is missing"):
        Plan.read(tmp_path)
    replace(made(tmp_path), fingerprint={**FACTS, "schema": 9}).write(tmp_path)
    with pytest.raises(StoreError, match="has format 9; this version reads format 3"):
        Plan.read(tmp_path)
