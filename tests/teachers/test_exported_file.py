"""The teacher `exported`. What it has in common with other files of graphs is tested in test_graph_file.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import distill
from distill.data.errors import UserError
from tests.teachers.exported_files import FREE, RATE, STATED, Tiny, build, expected_frames, export, save
from tests.teachers.tiny import TinyTeacher

TINY = TinyTeacher(lambda folder: {"checkpoint": save(folder, build())}, is_graph=True)


@pytest.mark.parametrize(
    ("rows", "samples", "said"),
    [(FREE, FREE, "any length, clips in batches"), (3, FREE, "any length, clips 3 at a time"),
     (FREE, 32_000, "32000 samples, clips in batches"), (1, 32_000, "32000 samples, clips one by one")],
)  # fmt: skip
def test_every_shape_gives_the_same_embeddings(rows: object, samples: object, said: str, tmp_path: Path) -> None:
    example = torch.zeros(rows if isinstance(rows, int) else 2, 32_000)
    free = (tuple(None if isinstance(size, int) else size for size in (rows, samples)),)
    path = save(tmp_path, export(Tiny().eval(), example, free=free, extra=STATED))
    teacher = distill.create_teacher("exported", checkpoint=path)
    waveform = torch.randn(4, 32_000, generator=torch.Generator().manual_seed(1)) * 0.1
    found = teacher.embed(waveform, RATE)
    torch.testing.assert_close(found.frames, expected_frames(waveform), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.clip, expected_frames(waveform).mean(1), atol=1e-5, rtol=0)
    assert said in teacher.reading


def test_a_network_that_gives_nan_is_refused(tmp_path: Path) -> None:
    class Broken(Tiny):
        def forward(self, waveform: Tensor) -> dict[str, Tensor]:
            return {name: value - torch.inf + torch.inf for name, value in super().forward(waveform).items()}

    path = save(tmp_path, export(Broken().eval(), torch.zeros(2, RATE), extra=STATED))
    with pytest.raises(UserError, match="'clip' has NaN or infinite numbers"):
        distill.create_teacher("exported", checkpoint=path)
