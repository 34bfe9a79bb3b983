"""The teacher that reads a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import distill
from distill.data.batch import AudioBatch
from distill.data.store.writer import StoreWriter
from tests.teachers.tiny import TinyTeacher


def test_precomputed_finds_clips_by_id(tmp_path: Path) -> None:
    vectors = {"a": np.ones(4, dtype=np.float32), "b": np.zeros(4, dtype=np.float32)}
    StoreWriter(tmp_path, ["a", "b"], 4, {"sample_rate": 16_000}, "float32").write(0, vectors)
    teacher = distill.create_teacher("precomputed", store=str(tmp_path))
    batch = AudioBatch(torch.zeros(2, 10), torch.tensor([10, 10]), 16_000, ("b", "a"), torch.zeros(2, 0))
    assert teacher(batch).clip.tolist() == [[0.0] * 4, [1.0] * 4]


TINY = TinyTeacher(lambda folder: {}, encodes_audio=False)
