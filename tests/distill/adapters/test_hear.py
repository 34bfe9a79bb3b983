from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from distill.adapters import hear
from distill.data.errors import UserError
from distill.students.saved import save_student
from distill.students.student import Student
from tests.students.tiny import tiny_student

OWN = """
import torch

import distill


class Coarse(distill.Student):
    sample_rate = 16_000

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(2))

    def encode(self, batch):
        frames = batch.waveform.unfold(1, 8000, 8000).abs().mean(2, keepdim=True) * self.scale
        times = 0.25 + 0.5 * torch.arange(frames.shape[1])
        return distill.Embeddings.of_frames(frames, times, torch.ones(frames.shape[:2], dtype=torch.bool))
"""


def test_a_rate_that_the_kit_accepts_is_declared() -> None:
    for rate, declared in ((8_000, 16_000), (16_000, 16_000), (22_050, 22_050), (32_000, 48_000), (256_000, 48_000)):
        student = tiny_student("cnn")
        student.sample_rate = rate
        student.__dict__["_probe"] = tiny_student("cnn")._probe  # the sizes, which the rate does not change
        assert hear.HearModel(student).sample_rate == declared
    assert set(hear.RATES) == {16_000, 22_050, 44_100, 48_000}


def test_scenes_are_the_clip_embeddings(folder: str, student: Student) -> None:
    model = hear.load_model(folder)
    audio = torch.randn(3, 96_000) * 0.1
    found = hear.get_scene_embeddings(audio, model)
    assert (found.dtype, found.requires_grad, model.sample_rate) == (torch.float32, False, 48_000)
    assert found.shape == (3, model.scene_embedding_size)
    torch.testing.assert_close(found, student.embed(audio, 48_000).clip, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seconds", [1.07, 1.98, 4.0])
def test_timestamps_are_in_milliseconds_even_and_reach_the_end(folder: str, seconds: float) -> None:
    """The checks of hear-validator's newest version, none of which may warn."""
    model = hear.load_model(folder)
    embeddings, times = hear.get_timestamp_embeddings(torch.rand(2, int(seconds * 48_000)) * 2 - 1, model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (*times.shape, model.timestamp_embedding_size)
    steps = times.diff()
    assert float((steps - 16).abs().max()) < 1e-3
    assert float(times.min()) <= 16
    assert 1000 * seconds - 16 <= float(times.max()) <= 1000 * seconds


def imported(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    return module


def test_a_written_module_is_moved_with_its_student(
    folder: str, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = hear.write_module(tmp_path / "here" / "hear_of_this_test.py", folder)
    assert "48000 Hz" in line
    assert "every 16 ms" in line
    assert "warns" not in line
    (tmp_path / "here").rename(tmp_path / "there")
    module = imported(tmp_path / "there", "hear_of_this_test", monkeypatch)
    audio = torch.randn(1, 48_000) * 0.1
    for model in (module.load_model(), module.load_model("")):
        found = module.get_scene_embeddings(audio, model)
        torch.testing.assert_close(found, student.embed(audio, 48_000).clip, rtol=1e-5, atol=1e-6)
    assert module.get_timestamp_embeddings(audio, model)[0].shape[0] == 1


def test_a_module_imports_the_package_of_its_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hear_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = importlib.import_module("hear_parts")
    save_student(parts.Coarse().eval(), tmp_path / "student", "")
    monkeypatch.delitem(sys.modules, "hear_parts")
    with pytest.raises(UserError, match="--allow_import hear_parts"):
        hear.write_module(tmp_path / "hear_own.py", str(tmp_path / "student"))
    line = hear.write_module(tmp_path / "hear_own.py", str(tmp_path / "student"), "hear_parts")
    assert "every 500 ms; hear-validator warns of steps above 50 ms" in line
    monkeypatch.delitem(sys.modules, "hear_parts")
    module = imported(tmp_path, "hear_own", monkeypatch)
    assert module.load_model().scene_embedding_size == 2


def test_a_name_that_python_cannot_import_and_a_missing_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be NAME\.py"):
        hear.write_module(tmp_path / "my-student.py", "runs/first")
    with pytest.raises(UserError, match="--model RUN"):
        hear.load_model()
