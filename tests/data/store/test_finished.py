"""Finished shards are written last of all, and read back for an update."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import StoreError
from distill.data.store import finished
from distill.data.store.finished import read_finished, write_finished
from distill.data.store.format import ShardFiles, Sidecar
from distill.data.store.journal import write_journal
from distill.data.store.shard import Shard
from tests.data.store.test_journal import IDS, filled


def complete(frame_dim: int) -> Shard:
    rows = filled(frame_dim)
    rows.remove([4])
    return rows


@pytest.mark.parametrize("frame_dim", [0, 3])
def test_a_shard_is_read_back_as_it_was(frame_dim: int, tmp_path: Path) -> None:
    files, rows = ShardFiles(tmp_path, 7), complete(frame_dim)
    write_finished(files, rows)
    sidecar = Sidecar.read(files)
    assert sidecar is not None
    assert sidecar.rows == 5
    block, before = read_finished(files, sidecar, rows.ids, rows.row_format), rows.block()
    assert block.ids == before.ids
    assert block.states.tolist() == before.states.tolist()
    assert block.stamps.tolist() == before.stamps.tolist()
    assert np.array_equal(block.vectors, before.vectors)
    assert list(block.set_aside) == list(before.set_aside)
    for one, other in zip(block.frames, before.frames, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.allclose(one.times, other.times)
    assert len(block.frames) == (3 if frame_dim else 0)


def test_an_incomplete_shard_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'e' was neither embedded nor set aside"):
        write_finished(ShardFiles(tmp_path, 0), filled(0))
    assert not list(tmp_path.iterdir())


def test_without_stamps_there_is_no_file_of_them(tmp_path: Path) -> None:
    rows = Shard(0, ["a"], filled(0).row_format)
    rows.add(["a"], np.ones((1, 2), np.float32))
    write_finished(ShardFiles(tmp_path, 0), rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.bin", "00000.json"]


@pytest.mark.parametrize("step", ["write_atomically", "write_stamps", "write_json", "delete_journal"])
def test_a_kill_at_any_step_loses_nothing_of_the_journal(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, rows = ShardFiles(tmp_path, 0), complete(3)
    write_finished(files, rows)
    rows.put_aside(rows.set_aside[0])  # a change
    write_journal(files, rows.block())

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finished, step, killed)
        with pytest.raises(KeyboardInterrupt):
            write_finished(files, rows)
    assert files.journals()
    assert (Sidecar.read(files) is not None) == (step == "delete_journal")
    write_finished(files, rows)
    assert not files.journals()
    assert IDS[4] in [clip.id for clip in rows.set_aside]
