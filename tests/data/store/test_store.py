"""Every row of the plan is embedded or set aside, also after kills and with damaged files."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import StoreError
from distill.data.store.format import ClipFrames, SetAside
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


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("float16", 2e-3)])
def test_rows_come_back_in_any_order(dtype: str, tolerance: float, tmp_path: Path) -> None:
    store = write_all(tmp_path, dtype)
    rows = [24, 0, 9, 10, 3, 3]
    np.testing.assert_allclose(store[[IDS[row] for row in rows]], VECTORS[rows], atol=tolerance)
    np.testing.assert_allclose(store.read_all(), VECTORS, atol=tolerance)
    store.verify()


def test_a_row_is_embedded_or_set_aside(tmp_path: Path) -> None:
    store = writer(tmp_path)
    vectors = {IDS[row]: VECTORS[row].copy() for row in range(10)}
    vectors[IDS[2]][0] = np.nan
    vectors[IDS[4]][0] = 1e25
    del vectors[IDS[7]]
    store.write(0, vectors, [SetAside(IDS[7], "malformed", "cut off")])
    partial = EmbeddingStore(tmp_path, partial=True)
    aside = {clip.id: clip.reason for clip in partial.set_aside}
    assert aside == {IDS[2]: "teacher_non_finite", IDS[4]: "teacher_out_of_range", IDS[7]: "malformed"}
    assert sorted([*partial.ids, *aside]) == IDS[:10]
    np.testing.assert_array_equal(partial[[IDS[8]]], VECTORS[[8]])


def test_a_row_that_is_in_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="clip003"):
        writer(tmp_path).write(0, {IDS[row]: VECTORS[row] for row in range(10) if row != 3})


def test_float16_overflow_is_set_aside(tmp_path: Path) -> None:
    vectors = {IDS[row]: VECTORS[row] * (1e5 if row == 1 else 1) for row in range(10)}
    writer(tmp_path, "float16").write(0, vectors)
    assert [clip.id for clip in EmbeddingStore(tmp_path, partial=True).set_aside] == [IDS[1]]


def test_another_fingerprint_is_refused_with_both_values(tmp_path: Path) -> None:
    writer(tmp_path, weights="abc")
    with pytest.raises(StoreError, match="weights is 'abc', not 'def'"):
        writer(tmp_path, weights="def")


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


@pytest.mark.parametrize("damage", ["shorter", "longer"])
def test_a_shard_of_another_size_is_written_again(damage: str, tmp_path: Path) -> None:
    write_all(tmp_path)
    shard = tmp_path / "00001.bin"
    shard.write_bytes(shard.read_bytes()[:-4] if damage == "shorter" else shard.read_bytes() + b"\0")
    with pytest.raises(StoreError, match="2 of 3"):
        EmbeddingStore(tmp_path)
    np.testing.assert_array_equal(write_all(tmp_path).read_all(), VECTORS)


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


WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.data.store.test_store import write_all
from distill.data.files import lock
print("ready", flush=True)
sys.stdin.readline()
with lock(Path({path!r}), "child"):
    write_all(Path({path!r}))
"""


def child(path: Path) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.format(root=root, path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_after_kills_every_row_is_stored_once(tmp_path: Path) -> None:
    delays = random.Random(0)
    for kill in range(6):
        process = child(tmp_path)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        try:
            process.wait(timeout=delays.uniform(0, 0.03))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdin.close()
        assert process.stdout is not None
        process.stdout.close()
        if kill % 2:
            (tmp_path / "00000.json").unlink(missing_ok=True)  # as if killed between data and sidecar
    store = write_all(tmp_path)
    assert store.ids == IDS
    np.testing.assert_array_equal(store.read_all(), VECTORS)
    assert not list(tmp_path.glob(".*.tmp"))


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


def test_frames_at_other_times_are_refused(tmp_path: Path) -> None:
    clips = {name: np.zeros(2, np.float32) for name in "ab"}
    frames = {
        name: ClipFrames(np.zeros((2, 3), np.float32), np.array(times, np.float32))
        for name, times in {"a": [0.1, 0.2], "b": [0.1, 0.3]}.items()
    }
    with pytest.raises(StoreError, match="other times"):
        StoreWriter(tmp_path, ["a", "b"], 2, {}, frame_dim=3).write(0, clips, (), frames)
