"""The quality report of a student: its numbers, its lines, and data from which nothing can be learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import distill
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.evaluation.quality import agreement, crop_matches, sensitivity
from distill.run.card import model_card
from distill.run.options import FitOptions
from distill.run.quality import mel_statistics, quality_report
from distill.run.quality_table import Agreement, CropMatches, QualityReport
from distill.teachers import TEACHERS
from tests.conftest import tone
from tests.own_parts import TinyConvolution


class Pitch(distill.Teacher):
    """Shares of the energy in eight bands; a gain changes nothing."""

    sample_rate = 16_000
    weights = None

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        spectrum = torch.fft.rfft(batch.waveform, n=16_000).abs()[:, :8_000]
        energy = spectrum.unflatten(1, (8, -1)).sum(2)
        return distill.Embeddings.of_clip((energy / energy.mean(1, keepdim=True)).log() + 1)


class Constant(Pitch):
    """The same vector for every clip."""

    value = 0.25

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(torch.full((len(batch), 8), self.value))


class NotANumber(Constant):
    value = float("nan")


class Copy(distill.Student):
    """A student that has learned the teacher, and whose untrained network is constant."""

    sample_rate = 16_000

    def __init__(self, trained: bool = False) -> None:
        super().__init__()
        self.encoder = Pitch() if trained else Constant()

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return self.encoder.encode(batch)


def parts(folder: Path, clips: int = 60, held_out: int = 20) -> tuple[ClipDataset, ClipDataset]:
    """Held-out and training clips: tones of different pitch."""
    for number in range(clips):
        pitch = 200.0 + 7_000 * ((number * 37) % clips) / clips
        soundfile.write(folder / f"{number:03d}.wav", tone(pitch, 0.5 + 0.1 * (number % 3), seed=number), 16_000)
    return split(read_manifest(folder), held_out)


def split(manifest: Manifest, held_out: int) -> tuple[ClipDataset, ClipDataset]:
    return (
        ClipDataset(manifest.subset(manifest.rows[:held_out]), 16_000, Crop(0.6)),
        ClipDataset(manifest.subset(manifest.rows[held_out:]), 16_000, Crop(0.6)),
    )


def embedded(encoder: distill.Teacher | distill.Student, *parts: ClipDataset) -> NDArray[np.float32]:
    """Embeddings of clips one by one."""
    vectors = []
    for part in parts:
        for row in range(len(part)):
            batch = part[row].batch
            assert batch is not None
            vectors.append(encoder.embed(batch.waveform, 16_000).clip[0].numpy())
    return np.stack(vectors)


def report(
    student: distill.Student, teachers: dict[str, distill.Teacher], parts: tuple[ClipDataset, ClipDataset]
) -> QualityReport:
    untrained = distill.create_student(TinyConvolution).eval()
    return quality_report(student, untrained, teachers, *parts, batch_size=7)


def test_the_measures_are_those_of_clips_that_are_embedded_one_by_one(tmp_path: Path) -> None:
    held_out, train = parts(tmp_path)
    student, teacher = distill.create_student(TinyConvolution).eval(), Pitch()
    found = report(student, {"pitch": teacher}, (held_out, train))
    assert (found.held_out, found.clips) == (20, 60)
    theirs, queries = embedded(teacher, held_out, train), np.arange(20)
    mel = mel_statistics(student)
    for quality, encoder in ((found.student, student), (found.mel, mel)):
        expected = agreement(embedded(encoder, held_out, train), theirs, queries)
        assert quality.agreements[0].neighbours == pytest.approx(expected.neighbours, abs=0.02)
        assert quality.agreements[0].r2 == pytest.approx(expected.r2, abs=0.15)
    assert found.student.cost is not None
    assert found.student.cost.seconds == 0.6
    assert found.student.cost.parameters == student.parameter_count()
    assert found.untrained.cost is None


def test_a_student_that_equals_its_teacher_keeps_all_neighbours(tmp_path: Path) -> None:
    clips = parts(tmp_path)
    found = report(distill.create_student(Copy, trained=True), {"pitch": Pitch()}, clips)
    assert found.student.agreements[0].neighbours == 1.0
    assert found.student.agreements[0].recall_1 == 1.0
    assert found.student.sensitivity.gain == pytest.approx(0, abs=1e-3)
    assert found.mel.sensitivity.gain > 0.1
    first, *table = found.lines()
    assert first.startswith("keeps 100 % of the teacher's neighbours (mel statistics ")
    assert len(table) <= 11
    assert max(map(len, table)) <= 110
    assert not found.alarm
    found.draw(tmp_path / "report" / "quality.png")
    assert (tmp_path / "report" / "quality.png").stat().st_size > 1000


def test_halves_and_changes_are_those_of_the_first_clips(tmp_path: Path) -> None:
    held_out, train = parts(tmp_path)
    teacher = Pitch()
    found = report(distill.create_student(Copy, trained=True), {"pitch": teacher}, (held_out, train))
    crops = found.teachers[0].crops
    assert crops is not None
    assert crops.clips == 60
    first, second, clean, shifted = [], [], [], []
    for part in (held_out, train):
        for row in range(len(part)):
            clip = part[row].batch.waveform[0]  # type: ignore[union-attr]
            middle = len(clip) // 2
            first.append(clip[:middle])
            second.append(clip[middle : 2 * middle])
            clean.append(clip)
            shifted.append(torch.cat([torch.zeros(800), clip]))

    def vectors(clips: list[torch.Tensor]) -> NDArray[np.float32]:
        return np.stack([teacher.embed(clip, 16_000).clip[0].numpy() for clip in clips])

    assert crops.teacher == pytest.approx(crop_matches(vectors(first), vectors(second)).mean(), abs=0.02)
    expected = sensitivity(vectors(clean), vectors(shifted))
    assert found.student.sensitivity.shift == pytest.approx(expected, abs=0.02)


def test_a_store_is_read_and_its_teacher_may_be_run_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    held_out, train = parts(tmp_path / "sounds", 30, 10)
    distill.embed(str(tmp_path / "sounds"), str(tmp_path / "store"), teacher=Pitch(), crop=Crop(0.6), workers=0)
    store = distill.create_teacher("precomputed", store=str(tmp_path / "store"))
    student = distill.create_student(Copy, trained=True)
    alone = report(student, {"pitch": store}, (held_out, train))
    assert alone.student.agreements[0].neighbours > 0.95  # of float16
    assert alone.teachers[0].crops is alone.teachers[0].cost is None
    untrained = distill.create_student(Copy)
    beside = quality_report(student, untrained, {"pitch": store}, held_out, train, 7, encoders={"pitch": Pitch()})
    assert beside.teachers[0].crops is not None
    assert beside.untrained.agreements[0].neighbours == 0


def test_a_nearly_constant_or_useless_student_is_an_alarm(tmp_path: Path) -> None:
    clips = parts(tmp_path)
    constant = report(distill.create_student(Copy), {"pitch": Pitch()}, clips)
    assert constant.lines()[0].startswith("keeps 0 % of the teacher's neighbours")
    assert constant.lines()[-1].startswith("ALARM: the embedding is nearly constant (mean cosine 1.0000). Try more")
    good = report(distill.create_student(Copy, trained=True), {"pitch": Pitch()}, clips)
    assert not good.lines()[-1].startswith("ALARM")
    for encoder, name in (("mel", "mel statistics keep"), ("untrained", "the untrained student keeps")):
        baseline = {"mel": good.mel, "untrained": good.untrained}[encoder]
        level = QualityReport(**{**vars(good), encoder: replaced(baseline, neighbours=1.0)})
        assert level.alarm.startswith(f"nothing useful was learned: no more of the teacher's neighbours than {name}.")
    flat = QualityReport(**{**vars(good), "student": type(good.student)(**{**vars(good.student), "effective_rank": 2})})
    assert "rank of the embedding collapsed to 2.0" in flat.lines()[-1]


def replaced(quality: object, **values: float) -> object:
    """The same measures with other ones of the only teacher."""
    (agreement,) = quality.agreements  # type: ignore[attr-defined]
    assert isinstance(agreement, Agreement)
    return type(quality)(**{**vars(quality), "agreements": (agreement._replace(**values),)})


def test_little_to_distil_is_within_one_standard_error() -> None:
    assert CropMatches(64, teacher=0.80, mel=0.78, standard_error=0.03).little_to_distil
    assert CropMatches(64, teacher=0.80, mel=0.90, standard_error=0.03).little_to_distil
    assert not CropMatches(64, teacher=0.80, mel=0.76, standard_error=0.03).little_to_distil


@pytest.mark.parametrize("held_out", [0, 1, 2])
def test_few_clips_get_a_clear_line(held_out: int, tmp_path: Path) -> None:
    student = distill.create_student(TinyConvolution)
    few = report(student, {"pitch": Pitch()}, parts(tmp_path, 2, held_out))
    assert ("no held-out clips" if not held_out else "2 clips are too few") in few.lines()[0]
    assert len(few.lines()) > 1
    assert not few.alarm
    assert student.training


def test_data_without_clips_or_without_sound_gets_a_clear_line(tmp_path: Path) -> None:
    nothing = report(distill.create_student(TinyConvolution), {"pitch": Pitch()}, split(read_nothing(tmp_path), 0))
    assert nothing.lines()[0].startswith("no clip could be read")
    (tmp_path / "one.wav").unlink()
    for number in range(25):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(8_000, np.float32), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    student = distill.create_student(TinyConvolution)
    silent = report(student, {"mel": distill.create_teacher("mel")}, split(read_manifest(tmp_path), 10))
    assert "same for every clip" in silent.lines()[0]
    assert silent.lines()[-1].startswith("ALARM: nothing can be learned from mel")
    json.loads(silent.as_json())


def read_nothing(folder: Path) -> Manifest:
    soundfile.write(folder / "one.wav", tone(300), 16_000)
    return read_manifest(folder).subset([])


@pytest.mark.parametrize(("teacher", "reason"), [(Constant, "the same for every clip"), (NotANumber, "not finite")])
def test_a_useless_teacher_is_named(teacher: Callable[[], distill.Teacher], reason: str, tmp_path: Path) -> None:
    clips = parts(tmp_path, 30, 10)
    found = report(distill.create_student(TinyConvolution), {"good": Pitch(), "bad": teacher()}, clips)
    lines = found.lines()
    assert lines[0].startswith("keeps ")
    assert "of the neighbours of good" in lines[0]
    assert reason in lines[1]
    assert lines[-1].startswith("ALARM: nothing can be learned from bad")
    assert json.loads(found.as_json())["student"]["agreements"][1]["neighbours"] is None
    found.draw(tmp_path / "quality.png")


def test_an_objective_without_teachers_has_measures_of_the_student_alone(tmp_path: Path) -> None:
    found = report(distill.create_student(TinyConvolution), {}, parts(tmp_path, 30, 10))
    lines = found.lines()
    assert "no teacher" in lines[0]
    assert not any("recall" in line or "R2" in line for line in lines)
    assert any(line.startswith("effective rank") for line in lines)
    found.draw(tmp_path / "quality.png")
    assert not (tmp_path / "quality.png").exists()


def test_mel_statistics_have_the_rate_and_the_band_of_the_student() -> None:
    student = distill.create_student(TinyConvolution)
    assert mel_statistics(student).sample_rate == student.sample_rate
    student.sample_rate = 80  # of infrasound
    assert mel_statistics(student).embed(torch.randn(160), 80).clip.isfinite().all()
    student = distill.create_student("cnn", width=0.1, sample_rate=1_000, low_hz=5.0, high_hz=300.0)
    options = TEACHERS.spec_of(mel_statistics(student)).options
    assert (options["low_hz"], options["high_hz"], options["sample_rate"]) == (5.0, 300.0, 1_000)


def test_the_model_card_has_the_table(tmp_path: Path) -> None:
    found = report(distill.create_student(TinyConvolution), {"pitch": Pitch()}, parts(tmp_path, 30, 10))
    student = distill.create_student("mobilenet_v3", width=0.1)
    options = FitOptions(teacher="spectral", student="mobilenet_v3", data="sounds", out="run")
    teachers = {"spectral": distill.create_teacher("spectral")}
    card = model_card(student, teachers, options, {}, 30, found)
    assert found.summary()[0] in card
    tables = [line for line in card.splitlines() if line.startswith("| effective rank |")]
    assert [line.count("|") for line in tables] == [6]
    assert "Quality without labels" not in model_card(student, teachers, options, {}, 30)
