"""The example of README.md runs and fulfils the contract that it states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import distill
from distill.students import STUDENTS

README = (Path(__file__).parents[1] / "README.md").read_text()


def own_parts() -> dict[str, Any]:
    code = re.search(r"```python\n(# my_parts\.py\n.*?)```", README, re.S)
    assert code
    names: dict[str, Any] = {"__name__": "my_parts"}
    exec(code[1], names)
    return names


def test_the_parts_of_the_example_fulfil_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STUDENTS, "_registered", {})  # the example registers a name
    parts = own_parts()
    teacher, student = parts["Loudness"](), parts["Tiny"](channels=16)
    assert distill.check_contract(teacher) == []
    assert distill.check_contract(student) == []
    assert (teacher.clip_dim, round(teacher.frame_hop, 4)) == (64, 0.01)
    assert distill.create_student("tiny").embed(torch.randn(10), 16_000).clip.shape == (1, 8)
