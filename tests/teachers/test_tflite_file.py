"""The teacher `tflite`. What it has in common with other files of graphs is tested in test_graph_file.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import distill
from tests.teachers.tflite_files import DIM, RATE, build, expected_frames, save, stated
from tests.teachers.tiny import TinyTeacher

TINY = TinyTeacher(
    lambda folder: {"checkpoint": save(folder, build()), "sample_rate": RATE, "output": "clip", "frames": "frames"},
    is_graph=True,
)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, -1), "any length, clips one by one"), ((-1, 32_000), "32000 samples, clips in batches"),
     ((1, 32_000), "32000 samples, clips one by one"), ((3, 32_000), "32000 samples, clips 3 at a time")],
)  # fmt: skip
def test_every_shape_gives_the_same_embeddings(shape: tuple[int, int], said: str, tmp_path: Path) -> None:
    path = save(tmp_path, build(shape))
    teacher = distill.create_teacher("tflite", checkpoint=path, sample_rate=RATE, output="clip", frames="frames")
    waveform = torch.randn(4, 32_000, generator=torch.Generator().manual_seed(1)) * 0.1
    found = teacher.embed(waveform, RATE)
    torch.testing.assert_close(found.frames, expected_frames(waveform), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.clip, expected_frames(waveform).mean(1), atol=1e-5, rtol=0)
    assert said in teacher.reading


def test_the_metadata_state_sample_rate_labels_and_licence(tmp_path: Path) -> None:
    content = build(metadata=stated(RATE, "names", "MIT"), labels={"names": "a\nb\nc\nd\ne\nf"})
    teacher = distill.create_teacher("tflite", checkpoint=save(tmp_path, content), output="frames", logits="clip")
    assert (teacher.sample_rate, teacher.licence, teacher.labels) == (RATE, "MIT", tuple("abcdef"))
    other = distill.create_teacher("tflite", checkpoint=save(tmp_path, content), output="clip", licence="ISC")
    assert other.licence == "ISC"
    found = teacher.embed(torch.randn(1, RATE), RATE)
    assert found.logits.shape == (1, DIM)
    torch.testing.assert_close(found.logits, found.frames.mean(1))
