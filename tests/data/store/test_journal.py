"""The journal keeps the rows of an unfinished shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.store.format import ClipFrames, RowFormat, SetAside, ShardFiles
from distill.data.store.journal import delete_journal, read_journal, read_journal_rows, write_journal
from distill.data.store.shard import Shard
from distill.data.store.stamps import STAMP

IDS = ["a", "caf\udce9", "line\nbreak", "d", "e"]


def filled(frame_dim: int) -> Shard:
    rows = Shard(0, IDS, RowFormat(2, frame_dim, np.dtype("<f2")))
    random = np.random.default_rng(0)
    frames = {
        clip_id: ClipFrames(random.standard_normal((count, 3)).astype(np.float32), np.arange(count, dtype=np.float32))
        for count, clip_id in enumerate(IDS[:3], start=1)
    }
    stamps = np.array([(9, 8, 7, number) for number in range(3)], STAMP)
    rows.add(IDS[:3], random.standard_normal((3, 2)).astype(np.float32), frames if frame_dim else None, stamps)
    rows.put_aside(SetAside("d", "malformed", "\udce9"), stamps[0])
    return rows


def restored(files: ShardFiles, like: Shard) -> Shard:
    rows = Shard(0, like.ids, like.row_format)
    for block in read_journal(files):
        rows.put(block)
    return rows


@pytest.mark.parametrize("frame_dim", [0, 3])
def test_rows_come_back_as_they_were(frame_dim: int, tmp_path: Path) -> None:
    files, rows = ShardFiles(tmp_path, 0), filled(frame_dim)
    write_journal(files, rows.added())
    write_journal(files, rows.added())  # nothing was added
    assert [path.name for path in files.journals()] == ["00000.partial.0000"]
    again = restored(files, rows)
    assert again.missing == ["e"]
    for before, after in zip(rows.block().frames, again.block().frames, strict=True):
        assert np.array_equal(before.frames, after.frames)
        assert np.array_equal(before.times, after.times)
    assert np.array_equal(rows.block().vectors, again.block().vectors)
    assert again.block().vectors.dtype.str == "<f2"
    assert rows.stamps.tolist() == again.stamps.tolist()
    assert rows.set_aside == again.set_aside
    (described,) = read_journal_rows(files)
    assert (described.ids, described.set_aside) == (tuple(IDS[:4]), rows.set_aside)
    assert described.states.tolist() == [1, 1, 1, 2]


def test_a_later_segment_replaces_rows_of_an_earlier_one(tmp_path: Path) -> None:
    files, rows = ShardFiles(tmp_path, 0), filled(0)
    write_journal(files, rows.added())
    rows.add(["d"], np.array([[5, 6]], np.float32))
    write_journal(files, rows.added())
    again = restored(files, rows)
    assert not again.set_aside
    assert again.block().vectors[-1].tolist() == [5, 6]
    delete_journal(files)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_segment_counts_as_missing(damage: str, tmp_path: Path) -> None:
    files, rows = ShardFiles(tmp_path, 0), filled(0)
    write_journal(files, rows.added())
    content = bytearray(files.journal(0).read_bytes())
    place = content.index(b"malformed")  # inside the rows that were set aside
    content[place] ^= 1
    files.journal(0).write_bytes({"cut": content[:200], "empty": b"", "flipped": content}[damage])
    rows.add(["e"], np.array([[5, 6]], np.float32))
    write_journal(files, rows.added())
    assert restored(files, rows).missing == IDS[:4]
    assert [segment.ids for segment in read_journal_rows(files)] == [("e",)]
