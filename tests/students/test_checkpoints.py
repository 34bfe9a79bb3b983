"""Official weights of all students: wrappers, choices and weights of half precision."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import distill
from distill.data.errors import UserError
from distill.data.files import file_digest
from distill.students import STUDENTS
from distill.students.saved import save_student
from distill.students.student import Student
from tests.checkpoint_files import copy_in_dtype
from tests.students.tiny import STUDENT_NAMES, tiny_options, tiny_student

READERS = [name for name in STUDENT_NAMES if "checkpoint" in inspect.signature(STUDENTS.find(name)).parameters]


def read(name: str, checkpoint: str | Path) -> Student:
    return distill.create_student(name, **{**tiny_options(name), "checkpoint": str(checkpoint)}).eval()


def clip(student: Student) -> Tensor:
    waveform = torch.randn(student.sample_rate, generator=torch.Generator().manual_seed(1)) * 0.1
    return student.embed(waveform, student.sample_rate).clip


@pytest.fixture
def student(name: str) -> Student:
    return tiny_student(name).eval()


@pytest.fixture
def state(student: Student) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in student.official_state().items()}


@pytest.mark.parametrize("name", READERS)
class TestEveryOfficialFile:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_weights_of_half_precision_are_read_as_float32(
        self, name: str, student: Student, state: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
    ) -> None:
        torch.save(state, tmp_path / "official.pt")
        half = read(name, copy_in_dtype(str(tmp_path / "official.pt"), dtype, tmp_path))
        assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
        expected = clip(read(name, tmp_path / "official.pt"))
        torch.testing.assert_close(clip(half), expected, atol=0.1 * max(1.0, float(expected.abs().max())), rtol=0)
        assert not clip(half).equal(expected)

    @pytest.mark.parametrize("container", ["", "state_dict", "model_state_dict", "net"])
    @pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "_orig_mod.", "model.module._orig_mod.net."])
    def test_a_wrapper_changes_nothing(
        self, name: str, student: Student, state: dict[str, Tensor], prefix: str, container: str, tmp_path: Path
    ) -> None:
        wrapped = {prefix + key: tensor for key, tensor in state.items()} | {"loss.scale": torch.ones(1)}
        torch.save({container: wrapped, "epoch": 3} if container else wrapped, tmp_path / "wrapped.pt")
        torch.save(state, tmp_path / "official.pt")
        assert clip(read(name, tmp_path / "wrapped.pt")).equal(clip(read(name, tmp_path / "official.pt")))

    def test_of_two_networks_one_can_be_chosen(
        self, name: str, student: Student, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        other = {key: t * 0.5 if t.is_floating_point() and t.dim() > 1 else t for key, t in state.items()}
        both = {f"net.{key}": t for key, t in state.items()} | {f"model.{key}": t for key, t in other.items()}
        torch.save({"state_dict": both}, path := tmp_path / "both.pt")
        torch.save(state, tmp_path / "official.pt")
        torch.save(other, tmp_path / "other.pt")
        assert clip(read(name, f"{path}#net")).equal(clip(read(name, tmp_path / "official.pt")))
        assert clip(read(name, f"{path}#model")).equal(clip(read(name, tmp_path / "other.pt")))
        with pytest.raises(UserError, match=r"holds the weights 'net\..*' and 'model\..*'; choose one: .*both.pt#net$"):
            read(name, path)


def test_a_student_folder_of_half_precision_is_loaded_in_float32(tmp_path: Path) -> None:
    student = tiny_student("cnn").eval()
    save_student(student, tmp_path, "card")
    file = tmp_path / "model.safetensors"
    save_file({k: t.half() if t.is_floating_point() else t for k, t in load_file(file).items()}, file)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"sha256": file_digest(file)}))
    loaded = distill.load(str(tmp_path))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(clip(loaded), clip(student), atol=0.1, rtol=0)
