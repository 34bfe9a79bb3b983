"""Students that are kept in the middle of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.training.kept_students import KeptStudents


@pytest.mark.parametrize(("first_process", "kept"), [(True, [2, 5]), (False, [])])
def test_the_first_process_saves_the_student_after_the_given_steps(first_process: bool, kept: list[int]) -> None:
    saved: list[Path] = []
    data: Any = SimpleNamespace(batches_done=0)
    trainer: Any = SimpleNamespace(is_global_zero=first_process)
    callback = KeptStudents(Path("run/kept"), data, [5, 2, 99], saved.append)
    for step in range(1, 8):
        data.batches_done = step
        callback.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]
    assert saved == [Path("run/kept") / f"step_{step:09d}" for step in kept]
