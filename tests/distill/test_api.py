"""Teachers of other packages: by decorator, by import path, by entry point, as an object; and students the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.commands.listing import list_components
from distill.data.errors import UserError
from distill.students import STUDENTS
from distill.teachers import TEACHERS
from tests.own_parts import Loudness, TinyConvolution

SOUND = torch.sin(torch.arange(16_000) * 0.3)


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEACHERS, "_registered", {})
    monkeypatch.setattr(STUDENTS, "_registered", {})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed beside ours, as its metadata say."""
    metadata = tmp_path / "other_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[distill.teachers]\nloudness = tests.own_parts:Loudness\nbroken = tests.own_parts:Missing\n"
        "[distill.students]\ntiny = tests.own_parts:TinyConvolution\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_registered_teacher_is_listed_built_and_named() -> None:
    distill.register_teacher("loudness")(Loudness)
    assert "loudness" in distill.list_teachers()
    assert distill.create_teacher("loudness", bands=5).embed(SOUND, 16_000).clip.shape == (1, 5)
    assert TEACHERS.name_of(Loudness) == "loudness"


def test_a_name_is_taken_once_but_a_cell_of_a_notebook_runs_twice() -> None:
    distill.register_teacher("loudness")(Loudness)
    distill.register_teacher("loudness")(Loudness)
    with pytest.raises(ValueError, match=r"'loudness' is already tests\.own_parts\.Loudness"):
        distill.register_teacher("loudness")(TinyConvolution)
    with pytest.raises(ValueError, match="choose another name"):
        distill.register_teacher("beats")(Loudness)
    with pytest.raises(ValueError, match="letters, digits"):
        distill.register_teacher("my-teacher")(Loudness)


@pytest.mark.usefixtures("installed")
def test_entry_points_of_another_package_are_listed_and_built() -> None:
    assert "loudness" in distill.list_teachers("loud*")
    assert "tiny" in distill.list_students()
    assert isinstance(distill.create_teacher("loudness"), Loudness)
    assert isinstance(distill.create_student("tiny", channels=4), TinyConvolution)


@pytest.mark.usefixtures("installed")
def test_an_entry_point_that_leads_nowhere_gets_one_line() -> None:
    with pytest.raises(UserError, match=r"'broken' of other-package .* cannot be loaded"):
        distill.create_teacher("broken")


@pytest.mark.usefixtures("installed")
def test_the_list_says_what_cannot_be_loaded_and_knows_functions(capsys: pytest.CaptureFixture[str]) -> None:
    def of_five_bands() -> distill.Teacher:
        """Level in five bands."""
        return Loudness(5)

    distill.register_teacher("five")(of_five_bands)
    list_components("teachers")
    printed = capsys.readouterr().out
    assert "'broken' of other-package" in printed
    assert "Level in five bands." in printed
    assert "weights: not stated" in printed
    assert distill.create_teacher("five").clip_dim == 5


def test_an_object_that_is_no_teacher_gets_one_line() -> None:
    with pytest.raises(UserError, match="a Linear is not a teacher"):
        TEACHERS.build(torch.nn.Linear(3, 4))
    with pytest.raises(UserError, match=r"a TinyConvolution is not a teacher: it must be a distill\.Teacher"):
        TEACHERS.build(TinyConvolution())
    with pytest.raises(UserError, match="a Linear is not a student"):
        STUDENTS.build({"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 2}})


def test_networks_of_a_teacher_are_frozen_however_they_are_added() -> None:
    class Added(Loudness):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("network", torch.nn.Linear(4, 3))
            self.register_module("other", torch.nn.Dropout())

    teacher = Added()
    teacher.train()
    teacher.layers = torch.nn.Sequential(torch.nn.Dropout())
    teacher.layers.append(torch.nn.Linear(3, 3))
    teacher.embed(SOUND, 16_000)
    assert teacher.parameter_count() == 27
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_an_import_path_names_a_teacher_and_a_wrong_one_says_what_is_missing() -> None:
    assert isinstance(distill.create_teacher("tests.own_parts.Loudness"), Loudness)
    with pytest.raises(UserError, match=r"tests\.own_parts has no 'Quietness'"):
        distill.create_teacher("tests.own_parts.Quietness")
    with pytest.raises(UserError, match="cannot import the teacher"):
        distill.create_teacher("tests.no_such_module.Loudness")
    with pytest.raises(UserError, match="did you mean 'beats'"):
        distill.create_teacher("beat")


def test_an_object_built_by_hand_is_refused_where_its_options_must_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", np.zeros(8_000), 16_000)
    message = r"the teacher tests\.own_parts\.Loudness was built by its class.*distill\.create_teacher\("
    with pytest.raises(UserError, match=message):
        distill.embed(str(tmp_path / "sounds"), str(tmp_path / "store"), teacher=Loudness(bands=4))
    store = distill.embed(
        str(tmp_path / "sounds"), str(tmp_path / "store"), teacher=distill.create_teacher(Loudness, bands=4)
    )
    assert store.fingerprint["options"] == {"bands": 4}


def test_an_object_whose_class_takes_no_options_needs_no_name() -> None:
    class Level(distill.Teacher):
        sample_rate = 16_000

        def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
            return distill.Embeddings.of_clip(batch.waveform.abs().mean(1, keepdim=True))

    windows = distill.Windows(seconds=2.0)
    assert TEACHERS.spec_of(Level()).options["windows"]["seconds"] == 10.0
    assert TEACHERS.spec_of(Level(windows)).options["windows"]["seconds"] == 2.0
    assert TEACHERS.spec_of(TEACHERS.create(Level, windows=windows)) == TEACHERS.spec_of(Level(windows))


def test_a_live_network_as_an_option_is_not_written_down() -> None:
    frozen = distill.create_teacher("frozen", student=distill.create_student("mobilenet_v3", width=0.1))
    with pytest.raises(
        UserError, match="frozen has an option that cannot be saved: a MobileNetV3 is not a plain value"
    ):
        TEACHERS.spec_of(frozen)


def test_an_exported_file_is_loaded_by_its_own_class() -> None:
    with pytest.raises(UserError, match=r"distill.ExportedStudent\('runs/student.onnx'\)"):
        distill.load("runs/student.onnx")
