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
from distill.data.store.stamps import STAMP
from distill.data.store.writer import StoreWriter
from tests.data.store.stores import IDS, VECTORS, write_all, writer


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


@pytest.mark.parametrize("damage", ["shorter", "longer"])
def test_a_shard_of_another_size_is_written_again(damage: str, tmp_path: Path) -> None:
    write_all(tmp_path)
    shard = tmp_path / "00001.bin"
    shard.write_bytes(shard.read_bytes()[:-4] if damage == "shorter" else shard.read_bytes() + b"\0")
    with pytest.raises(StoreError, match="2 of 3"):
        EmbeddingStore(tmp_path)
    np.testing.assert_array_equal(write_all(tmp_path).read_all(), VECTORS)


WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.data.store.stores import write_all
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


def test_frames_at_other_times_are_refused(tmp_path: Path) -> None:
    clips = {name: np.zeros(2, np.float32) for name in "ab"}
    frames = {
        name: ClipFrames(np.zeros((2, 3), np.float32), np.array(times, np.float32))
        for name, times in {"a": [0.1, 0.2], "b": [0.1, 0.3]}.items()
    }
    with pytest.raises(StoreError, match="other times"):
        StoreWriter(tmp_path, ["a", "b"], 2, {}, frame_dim=3).write(0, clips, (), frames)


def test_new_clips_are_appended_and_the_others_keep_their_places(tmp_path: Path) -> None:
    write_all(tmp_path)
    again = StoreWriter(tmp_path, ["new", IDS[24], IDS[3], "newer"], 6, {"encoder": "test"}, "float32")
    assert again.planned_before == 25
    assert again.ids == [*IDS, "new", "newer"]
    assert again.places.tolist() == [-1, -1, -1, 2, *[-1] * 20, 1, 0, 3]
    assert again.missing_shards() == [2]  # the last shard has more rows now
    held = again.held(2)
    assert (held.is_done, held.states.tolist()) == (False, [1, 1, 1, 1, 1, 0, 0])
    shard = again.open(2)
    assert shard.missing == ["new", "newer"]
    shard.add(["newer", "new"], VECTORS[:2])
    again.finish(shard)
    store = EmbeddingStore(tmp_path)
    np.testing.assert_array_equal(store.read_all(), [*VECTORS, VECTORS[1], VECTORS[0]])
    assert StoreWriter(tmp_path, IDS, 6, {"encoder": "test"}, "float32").missing_shards() == []


def test_only_other_clips_can_be_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(StoreError, match="holds 25 clips, and none of them is in the data"):
        StoreWriter(tmp_path, ["x"], 6, {"encoder": "test"}, "float32", refuse_others=True)
    assert (tmp_path / "plan.json").read_bytes() == before
    assert StoreWriter(tmp_path, ["x"], 6, {"encoder": "test"}, "float32").ids[-1] == "x"


def test_shards_without_their_plan_are_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(StoreError, match=r"0000\d\.json belongs to a store whose plan\.json is missing"):
        writer(tmp_path)


def test_a_finished_shard_moves_to_its_journal_before_it_changes(tmp_path: Path) -> None:
    store = write_all(tmp_path)
    store[[IDS[0]]]
    again = writer(tmp_path)
    again.open(1)
    assert not (tmp_path / "00001.json").exists()
    assert writer(tmp_path).missing_shards() == [1]
    assert writer(tmp_path).held(1).states.tolist() == [1] * 10
    again.finish(again.open(1))
    np.testing.assert_array_equal(EmbeddingStore(tmp_path).read_all(), VECTORS)


def test_a_journal_that_a_killed_writer_left_beside_its_shard_is_deleted(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "00001.partial.0000").write_bytes(b"old rows")
    assert writer(tmp_path).held(1).is_done
    assert not list(tmp_path.glob("*.partial.*"))


@pytest.mark.parametrize("frame_dim", [0, 3])
def test_the_index_takes_at_most_100_bytes_a_clip(frame_dim: int, tmp_path: Path) -> None:
    ids = [f"{number:036d}.wav" for number in range(3_000)]  # of 40 bytes
    store = StoreWriter(tmp_path, ids, 2, {}, frame_dim=frame_dim, rows_per_shard=1_000)
    frames = ClipFrames(np.ones((4, 3), np.float32), np.arange(4, dtype=np.float32)) if frame_dim else None
    for number in range(3):
        shard = store.open(number)
        stamps = np.array([(10**6, 10**18, 2**31, 2**31)] * 1_000, STAMP)
        clips = dict.fromkeys(shard.ids, frames) if frames else None
        shard.add(shard.ids, np.ones((1_000, 2), np.float32), clips, stamps)  # type: ignore[arg-type]
        store.finish(shard)
    index = sum(file.stat().st_size for file in tmp_path.iterdir() if not file.name.endswith(".bin"))
    index += (tmp_path / "ids.bin").stat().st_size
    assert index / 3_000 <= 100
