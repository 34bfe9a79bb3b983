"""The parts of a run: they are loaded, and must fit each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.data.errors import UserError
from tests.students.hear.tiny import HEAR_OPTIONS


def fit_error(data: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        distill.fit(data=str(data), out=str(out), engine={"workers": 0, "accelerator": "cpu"}, **settings)
    return str(caught.value)


def test_what_does_not_go_together(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8, seconds=1.0)
    tiny = {"class_path": "hear_tokenizer", "init_args": {**HEAR_OPTIONS, "codes": 8}}
    out = tmp_path / "run"
    assert "hear_tokenizer" in fit_error(data, out, student="mobilenet_v3", teacher="spectral", objective="tokenizer")
    assert "takes no teacher" in fit_error(data, out, student=tiny, teacher="spectral", objective="classification")
    assert "0 classes" in fit_error(data, out, student=tiny, objective="classification")
    mam = {"class_path": "masked_prediction", "init_args": {"tokenizer": str(data)}}
    assert "no trained student" in fit_error(
        data, out, student={"class_path": "hear", "init_args": HEAR_OPTIONS}, objective=mam
    )
