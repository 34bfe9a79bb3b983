from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.loading import InOrder, NoSharedMemory, loader
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest


def manifest_of_clips(folder: Path) -> Manifest:
    for clip in range(8):
        soundfile.write(folder / f"{clip}.wav", np.full(800, 0.1), 16_000)
    return read_manifest(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_ignore_signals_to_every_process(number: int, tmp_path: Path) -> None:
    clips = ClipDataset(manifest_of_clips(tmp_path), 16_000, Crop())
    batches: Any = iter(loader(clips, InOrder(len(clips), 1), workers=1))
    ids = list(next(batches).batch.ids)
    os.kill(batches._workers[0].pid, number)
    ids += [clip for loaded in batches for clip in loaded.batch.ids]
    assert ids == [f"{clip}.wav" for clip in range(8)]


@pytest.fixture
def killed_workers() -> Iterator[None]:
    """After an error, torch waits 10 s for each loader process."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    for process in multiprocessing.active_children():
        process.kill()
    gc.collect()
    signal.signal(signal.SIGCHLD, handler)


LEFT_BEHIND = """
import sys
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.loading import InOrder, loader
from distill.data.clips.sources import read_manifest
clips = ClipDataset(read_manifest(sys.argv[1]), 16_000, Crop())
batches = iter(loader(clips, InOrder(len(clips), 1), workers=2))
print(*next(batches).batch.ids)
"""


def test_a_program_ends_although_loader_processes_are_left(tmp_path: Path) -> None:
    manifest_of_clips(tmp_path)
    command = [sys.executable, "-c", LEFT_BEHIND, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.wav\n", "")


FULL = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"


@pytest.mark.usefixtures("killed_workers")
@pytest.mark.parametrize(
    "message", [FULL, "unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"]
)
def test_a_lack_of_shared_memory_is_one_line_at_once(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(message)

    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)  # the loader processes are forks
    clips = ClipDataset(manifest_of_clips(tmp_path), 16_000, Crop())
    with pytest.raises(NoSharedMemory) as caught:
        list(loader(clips, InOrder(len(clips), 4), workers=1))
    line = str(caught.value)
    assert "/dev/shm" in line
    assert "--engine.workers 0" in line
    assert "\n" not in line
    assert sum(len(loaded.batch.ids) for loaded in loader(clips, InOrder(len(clips), 4), workers=0)) == 8


@pytest.mark.usefixtures("killed_workers")
def test_other_errors_of_a_loader_process_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("another error")

    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    clips = ClipDataset(manifest_of_clips(tmp_path), 16_000, Crop())
    with pytest.raises(RuntimeError, match="another error"):
        list(loader(clips, InOrder(len(clips), 4), workers=1))


def test_batches_of_loader_processes_are_those_of_the_main_process(tmp_path: Path) -> None:
    clips = ClipDataset(manifest_of_clips(tmp_path), 16_000, Crop())
    batches: list[list[Any]] = [list(loader(clips, InOrder(len(clips), 3), workers)) for workers in (0, 2)]
    for here, there in zip(*batches, strict=True):
        assert here.batch.ids == there.batch.ids
        assert torch.equal(here.batch.waveform, there.batch.waveform)
        assert torch.equal(here.batch.labels, there.batch.labels)
