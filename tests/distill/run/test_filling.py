"""The filling of a store by several processes: the rows are those of one, and an end reaches all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.data import files
from distill.data.clips.dataset import Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.data.store import writer
from distill.data.store.reader import EmbeddingStore
from distill.run import filling
from distill.run.embeddings import Upkeep, fill_store
from distill.run.resuming import Stopped
from distill.run.shares import Share
from distill.training.world import World
from tests.distill.run.test_continued_stores import Mixing, content
from tests.distill.training.ranks import on_ranks


@pytest.fixture
def data(sounds: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven clips in shards of two, of which two clips of one shard cannot be read."""
    monkeypatch.setattr(writer, "_ROWS_PER_SHARD", 2)
    folder = sounds(11)
    for file in sorted(folder.rglob("*.wav"))[2:4]:
        file.write_bytes(b"no sound")
    return folder


def embed(data: Path, out: Path, world: World | None = None, share: Share | None = None, **options: Any) -> Any:
    upkeep = Upkeep(world=world or World(), share=share or Share())
    teacher = options.pop("teacher", None) or Mixing()
    return fill_store(teacher, read_manifest(data), out, Crop(), 2, workers=0, device="cpu", upkeep=upkeep, **options)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_store_of_several_processes_is_that_of_one(processes: int, data: Path, tmp_path: Path) -> None:
    embed(data, tmp_path / "one")
    stores = on_ranks(processes, lambda world: embed(data, tmp_path / "several", world))
    assert content(tmp_path / "several") == content(tmp_path / "one")
    assert [len(store) for store in stores] == [9] * processes


def test_parts_join_without_a_copy_and_each_may_run_again(data: Path, tmp_path: Path) -> None:
    embed(data, tmp_path / "one")
    for part, missing in ((2, 4), (0, 2), (2, 2), (1, 0)):
        store = embed(data, tmp_path / "parts", share=Share(part, 3))
        assert len(store.missing_shards) == missing
    assert content(tmp_path / "parts") == content(tmp_path / "one")


def test_a_part_without_a_usable_clip_is_complete(data: Path, tmp_path: Path) -> None:
    store = embed(data, tmp_path / "s", share=Share(1, 6))
    assert (len(store), len(store.set_aside), len(store.missing_shards)) == (0, 2, 5)


def test_a_store_without_a_usable_clip_is_refused_by_all(data: Path, tmp_path: Path) -> None:
    for file in data.rglob("*.wav"):
        file.write_bytes(b"no sound")
    errors = on_ranks(2, lambda world: embed(data, tmp_path / "s", world))
    assert all("none of 11 clips could be embedded" in str(error) for error in errors)
    assert [error.is_silent for error in errors if isinstance(error, UserError)] == [False, True]


def test_all_unusable_clips_are_not_tried(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_MAX_UNUSABLE", 4)
    for file in data.rglob("*.wav"):
        file.write_bytes(b"no sound")
    with pytest.raises(UserError, match="none of 4 clips could be embedded"):
        embed(data, tmp_path / "s")


def test_a_signal_to_one_process_stops_all_when_they_have_worked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals reach the main thread only, so that a process is a thread here and its signal is a value."""

    class Signals(filling.StopSignals):
        def __enter__(self) -> Signals:
            self.stopped_by = None if self.prints else signal.SIGTERM  # rank 1 prints nothing
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(filling, "StopSignals", Signals)
    errors = on_ranks(2, lambda world: embed(data, tmp_path / "s", world))
    assert [str(error).partition(";")[0] for error in errors] == ["stopped after 8 of 11 clips, which are kept"] * 2
    assert [error.exit_code for error in errors if isinstance(error, Stopped)] == [128 + signal.SIGTERM] * 2
    monkeypatch.undo()
    assert len(embed(data, tmp_path / "s")) == 9


def test_files_of_other_parts_are_not_deleted(data: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    other = tmp_path / "s" / f".00003.f16.{os.getpid()}.tmp"
    other.write_bytes(b"of another part")
    embed(data, tmp_path / "s", share=Share(0, 3))
    assert other.exists()
    for part in (0, 1, 2):
        embed(data, tmp_path / "s", share=Share(part, 3))
    with files.lock(tmp_path / "s", "distill embed"):
        embed(data, tmp_path / "s")
    assert not other.exists()
    assert not EmbeddingStore(tmp_path / "s").missing_shards
