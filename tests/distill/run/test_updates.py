"""Which clips of the data a store misses, and which it has in another state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.stamps import FileStates
from distill.data.errors import StoreError
from distill.data.store.format import SetAside
from distill.data.store.plan import Plan
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.run.updates import Update, find_update, refuse_other_windows

NAMES = [f"{number}.wav" for number in range(8)]


def files(folder: Path, names: Sequence[str]) -> Manifest:
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_bytes(name.encode() * 3)
    return Manifest(folder, [Row(name, folder / name) for name in names])


def written(folder: Path, manifest: Manifest, aside: Sequence[str] = (), stamped: bool = True) -> None:
    """A finished store of the clips in shards of three rows."""
    writer = StoreWriter(folder / "store", manifest.ids, 2, {}, "float32", rows_per_shard=3)
    states = FileStates(manifest, Crop())
    for number in range(writer.shard_count):
        shard, rows = writer.open(number), np.array(writer.rows(number))
        stamps = states.stamps(rows)
        stamps["content"] = [states.content(row) for row in rows.tolist()]
        if stamped:
            shard.add(shard.ids, np.ones((len(rows), 2), np.float32), stamps=stamps)
        else:
            shard.add(shard.ids, np.ones((len(rows), 2), np.float32))
        for clip_id in set(aside) & set(shard.ids):
            shard.put_aside(SetAside(clip_id, "malformed", ""), stamps[shard.ids.index(clip_id)])
        writer.finish(shard)


def update(folder: Path, manifest: Manifest, drop: bool = True) -> Update:
    writer = StoreWriter(folder / "store", manifest.ids, 2, {}, "float32")
    return find_update(writer, FileStates(manifest, Crop()), drop, range(writer.shard_count))


def rows(found: Update) -> dict[int, tuple[list[int], list[int]]]:
    return {number: (shard.embed.tolist(), shard.remove.tolist()) for number, shard in found.shards.items()}


def test_an_unchanged_store_needs_nothing(tmp_path: Path) -> None:
    manifest = files(tmp_path, NAMES)
    written(tmp_path, manifest, aside=["4.wav"])
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "store").iterdir())
    found = update(tmp_path, manifest)
    assert rows(found) == {}
    assert found.lines() == ["0 new, 0 changed, 0 removed, 8 unchanged"]
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "store").iterdir())


def test_only_the_shards_of_differences_are_written(tmp_path: Path) -> None:
    written(tmp_path, files(tmp_path, NAMES), aside=["1.wav", "7.wav"])
    (tmp_path / "1.wav").write_bytes(b"mended")
    (tmp_path / "5.wav").write_bytes(b"another")
    found = update(tmp_path, files(tmp_path, ["new.wav", *NAMES[:3], *NAMES[4:]]))
    assert rows(found) == {0: ([1], []), 1: ([2], [0]), 2: ([2], [])}
    assert found.lines() == ["1 new, 2 changed, 1 removed, 5 unchanged"]
    assert Plan.read(tmp_path / "store").ids == [*NAMES, "new.wav"]  # the old clips keep their places


def test_clips_of_other_data_stay_unless_they_are_dropped(tmp_path: Path) -> None:
    written(tmp_path, files(tmp_path, NAMES))
    kept = update(tmp_path, files(tmp_path, NAMES[2:4]), drop=False)
    assert rows(kept) == {}
    assert kept.lines() == ["0 new, 0 changed, 0 removed, 8 unchanged"]
    assert kept.embedded
    dropped = update(tmp_path, files(tmp_path, NAMES[2:4]))
    assert rows(dropped) == {0: ([], [0, 1]), 1: ([], [1, 2]), 2: ([], [0, 1])}
    assert dropped.removed == 6


def test_copied_files_are_unchanged_and_their_times_are_renewed(tmp_path: Path) -> None:
    manifest = files(tmp_path, NAMES)
    written(tmp_path, manifest)
    for name in NAMES:
        os.utime(tmp_path / name, ns=(5, 5))
    reads: list[int] = []
    states = FileStates(manifest, Crop())
    states.content = lambda number, content=states.content: reads.append(number) or content(number)  # type: ignore
    for expected in (8, 0):  # the second time, no file is read
        reads.clear()
        writer = StoreWriter(tmp_path / "store", manifest.ids, 2, {}, "float32")
        assert find_update(writer, states, True, range(writer.shard_count)).unchanged == 8
        assert len(reads) == expected


def test_a_removed_clip_that_returns_is_new(tmp_path: Path) -> None:
    manifest = files(tmp_path, NAMES)
    written(tmp_path, manifest)
    writer = StoreWriter(tmp_path / "store", manifest.ids, 2, {}, "float32")
    shard = writer.open(1)
    shard.remove([1])
    writer.finish(shard)
    store = EmbeddingStore(tmp_path / "store")
    assert (len(store), store.removed, store.set_aside) == (7, 1, [])
    gone = update(tmp_path, files(tmp_path, [*NAMES[:4], *NAMES[5:]]))
    assert rows(gone) == {}
    assert gone.lines() == ["0 new, 0 changed, 0 removed, 7 unchanged"]
    assert rows(update(tmp_path, manifest)) == {1: ([1], [])}
    assert update(tmp_path, manifest).new == 1


def test_rows_in_a_journal_are_compared_too(tmp_path: Path) -> None:
    manifest = files(tmp_path, NAMES)
    written(tmp_path, manifest)
    writer = StoreWriter(tmp_path / "store", manifest.ids, 2, {}, "float32")
    writer.open(1)  # moves its rows to the journal
    (tmp_path / "4.wav").write_bytes(b"another")
    found = update(tmp_path, manifest)
    assert rows(found) == {1: ([1], [])}
    assert (found.changed, found.unchanged) == (1, 7)


def test_a_store_without_states_is_unchanged_and_gets_them(tmp_path: Path) -> None:
    manifest = files(tmp_path, NAMES)
    written(tmp_path, manifest, stamped=False)
    first = update(tmp_path, manifest)
    assert rows(first) == {}
    assert (first.unchanged, first.unknown) == (8, 8)
    assert "earlier version: it does not know whether the files of 8 clips changed" in first.lines()[1]
    (tmp_path / "2.wav").write_bytes(b"another")
    second = update(tmp_path, manifest)
    assert rows(second) == {0: ([2], [])}
    assert second.unknown == 0


@pytest.mark.parametrize("order", [1, -1])
def test_other_windows_of_an_earlier_store_are_refused(order: int, tmp_path: Path) -> None:
    kept = [Row("a@0", tmp_path / "a", 0.0, 1.0), Row("a@1", tmp_path / "a", 1.0, 1.0)]
    store = tmp_path / "store"
    StoreWriter(store, [row.id for row in kept], 2, {"windows": Manifest(tmp_path, kept).digest})
    same = Manifest(tmp_path, [*kept[::order], Row("b", tmp_path / "b")])
    refuse_other_windows(store, same)
    refuse_other_windows(store, Manifest(tmp_path, kept[:1]))  # cannot be compared
    refuse_other_windows(tmp_path / "none", same)
    shifted = Manifest(tmp_path, [kept[0], Row("a@1", tmp_path / "a", 1.5, 1.0)][::order])
    with pytest.raises(StoreError, match="windows is '"):
        refuse_other_windows(store, shifted)
    (store / "00000.stamps").touch()  # from now on, each clip has its own state
    refuse_other_windows(store, shifted)
