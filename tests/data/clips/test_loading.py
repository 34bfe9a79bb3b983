from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.loading import InOrder, loader
from distill.data.clips.sources import read_manifest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_ignore_signals_to_every_process(number: int, tmp_path: Path) -> None:
    for clip in range(8):
        soundfile.write(tmp_path / f"{clip}.wav", np.full(800, 0.1), 16_000)
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop())
    batches: Any = iter(loader(clips, InOrder(len(clips), 1), workers=1))
    ids = list(next(batches).batch.ids)
    os.kill(batches._workers[0].pid, number)
    ids += [clip for loaded in batches for clip in loaded.batch.ids]
    assert ids == [f"{clip}.wav" for clip in range(8)]
