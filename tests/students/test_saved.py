"""Student folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import distill
from distill.data.errors import UserError
from tests.distill.commands.test_fit import fit


def test_a_damaged_student_is_refused(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(8), tmp_path / "run", epochs=1)
    path = tmp_path / "run" / "student" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        distill.load(str(tmp_path / "run"))


def test_a_student_folder_cannot_import_what_it_names(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(sounds(8), tmp_path / "run", epochs=1)
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "run" / "student" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"student": "evil.Student"}))
    with pytest.raises(UserError, match="--allow_import evil"):
        distill.load(str(tmp_path / "run"))
