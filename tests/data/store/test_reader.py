"""Embeddings are read as they were written, and damage is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import StoreError
from distill.data.store import reader
from distill.data.store.format import ClipFrames, SetAside
from distill.data.store.reader import EmbeddingStore
from distill.data.store.stamps import STAMP
from distill.data.store.writer import StoreWriter
from tests.data.store.stores import IDS, VECTORS, write_all, writer


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("float16", 2e-3)])
def test_rows_come_back_in_any_order(dtype: str, tolerance: float, tmp_path: Path) -> None:
    store = write_all(tmp_path, dtype)
    rows = [24, 0, 9, 10, 3, 3]
    np.testing.assert_allclose(store[[IDS[row] for row in rows]], VECTORS[rows], atol=tolerance)
    np.testing.assert_allclose(store.read_all(), VECTORS, atol=tolerance)
    store.verify()


def test_an_incomplete_store_is_refused_and_can_be_continued(tmp_path: Path) -> None:
    writer(tmp_path).write(0, {IDS[row]: VECTORS[row] for row in range(10)})
    with pytest.raises(StoreError, match="1 of 3 shards"):
        EmbeddingStore(tmp_path)
    assert writer(tmp_path).missing_shards() == [1, 2]


def test_a_folder_without_a_store_and_an_unknown_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a store"):
        EmbeddingStore(tmp_path)
    with pytest.raises(StoreError, match="unknown"):
        write_all(tmp_path)[["unknown"]]


def test_verify_finds_a_flipped_bit(tmp_path: Path) -> None:
    store = write_all(tmp_path)
    content = bytearray((tmp_path / "00001.bin").read_bytes())
    content[17] ^= 1
    (tmp_path / "00001.bin").write_bytes(content)
    with pytest.raises(StoreError, match=r"00001\.bin"):
        store.verify()


def test_a_file_that_shrinks_while_it_is_read_raises_an_error(tmp_path: Path) -> None:
    store = write_all(tmp_path)
    store[[IDS[12]]]
    with open(tmp_path / "00001.bin", "r+b") as file:
        file.truncate(8)
    with pytest.raises(StoreError, match="shrank"):
        store[[IDS[19]]]


def test_frames_are_kept_with_their_clips(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids = [f"clip{index}" for index in range(7)]
    times = (0.05 + 0.1 * np.arange(9)).astype(np.float32)
    clips = {clip_id: random.standard_normal(4).astype(np.float32) for clip_id in ids}
    frames = {
        clip_id: ClipFrames(random.standard_normal((2 + row, 3)).astype(np.float32), times[: 2 + row])
        for row, clip_id in enumerate(ids)
    }
    frames["clip2"].frames[0, 0] = np.nan
    writer = StoreWriter(tmp_path, ids, 4, {}, "float32", frame_dim=3, rows_per_shard=3)
    for shard in writer.missing_shards():
        writer.write(shard, clips, (), frames)
    store = EmbeddingStore(tmp_path)
    assert [clip.id for clip in store.set_aside] == ["clip2"]
    chosen = ["clip6", "clip0", "clip4"]
    for clip_id, found in zip(chosen, store.frames(chosen), strict=True):
        assert np.array_equal(found, frames[clip_id].frames)
    assert np.allclose(store.frame_times, times[:8])
    store.verify()
    (tmp_path / "00001.frames.bin").write_bytes(b"cut")
    assert StoreWriter(tmp_path, ids, 4, {}, "float32", frame_dim=3).missing_shards() == [1]


def test_the_windows_of_the_clips_are_those_of_their_stamps(tmp_path: Path) -> None:
    store = writer(tmp_path)
    for number in range(store.shard_count):
        shard = store.open(number)
        stamps = np.zeros(len(shard.ids), STAMP)
        stamps["window"] = 1 + np.arange(store.rows(number).start, store.rows(number).stop)
        ids = list(shard.ids)
        shard.put_aside(SetAside(ids[0], "missing", ""), stamps[0])
        shard.add(ids[1:], VECTORS[store.rows(number).start + 1 : store.rows(number).stop], None, stamps[1:])
        store.finish(shard)
    read = EmbeddingStore(tmp_path)
    assert {name: 1 + IDS.index(name) for name in read.ids} == dict(zip(read.ids, read.window_digests(), strict=True))
    (tmp_path / "00001.stamps").unlink()
    assert (EmbeddingStore(tmp_path).window_digests() == 0).sum() == 9


def test_more_shards_than_open_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_OPEN_FILES", 2)
    store = write_all(tmp_path)
    for _ in range(3):
        np.testing.assert_array_equal(store[[IDS[row] for row in (24, 0, 12, 1)]], VECTORS[[24, 0, 12, 1]])
    np.testing.assert_array_equal(store.read_all(), VECTORS)
    descriptors = list(store._open_files._descriptors.values())
    assert len(descriptors) == 2
    del store
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_rows_of_many_clips_are_found_at_once(tmp_path: Path) -> None:
    store = write_all(tmp_path)
    assert store.rows_of(["unknown", IDS[20], IDS[3]]).tolist() == [-1, 20, 3]
    assert store.rows_of([]).tolist() == []
    assert store[[]].shape == (0, 6)
    assert [(list(ids), len(vectors)) for ids, vectors in store.blocks()] == [
        (IDS[:10], 10), (IDS[10:20], 10), (IDS[20:], 5)
    ]  # fmt: skip


def test_the_digest_is_of_ids_and_contents(tmp_path: Path) -> None:
    digests = set()
    for number, (ids, gain) in enumerate([(["a", "b"], 1), (["a", "c"], 1), (["ab", ""], 1), (["a", "b"], 2)]):
        store = StoreWriter(tmp_path / str(number), ids, 2, {}, "float32")
        store.write(0, dict.fromkeys(ids, np.full(2, gain)))
        digests.add(EmbeddingStore(tmp_path / str(number)).digest)
    assert len(digests) == 4
