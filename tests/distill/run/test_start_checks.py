"""Checks at the start of a run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.run.start_checks import check_band, check_encoders, check_lengths, highest_frequency
from distill.students.saved import save_student
from distill.teachers.spectral import Spectral
from tests.own_parts import TinyConvolution


class Padded(distill.Student):
    """A student whose mean takes the padding of a batch too."""

    sample_rate = 16_000

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(batch.waveform.abs().mean(1, keepdim=True) * torch.ones(3))


def clips(folder: Path, sample_rate: int) -> Path:
    for number in range(3):
        noise = np.random.default_rng(number).standard_normal(sample_rate // 2) * 0.1
        soundfile.write(folder / f"{number}.wav", noise, sample_rate)
    (folder / "broken.wav").write_text("no sound")
    return folder


def lines_of(student: distill.Student, folder: Path, sample_rate: int) -> list[str]:
    manifest = read_manifest(clips(folder, sample_rate))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_band(student, [Spectral()] if sample_rate < 100_000 else [], manifest)
    return [str(warning.message) for warning in caught]


def test_the_highest_frequency_is_that_of_the_readable_files(tmp_path: Path) -> None:
    assert highest_frequency(read_manifest(clips(tmp_path, 48_000))) == 24_000


@pytest.mark.parametrize(
    ("sample_rate", "band", "line"),
    [
        (44_100, {}, ""),
        (256_000, {}, "clips and teacher reach 128000 Hz; convolutional students take --student.sample_rate 256000"),
        (256_000, {"sample_rate": 256_000, "low_hz": 10_000, "high_hz": 120_000}, ""),
        (1_000, {}, "the clips end at 500 Hz; convolutional students take --student.sample_rate 1000"),
        (1_000, {"sample_rate": 1_000, "low_hz": 10, "high_hz": 450}, ""),
    ],
)
def test_a_student_that_misses_the_band_gets_one_line(
    sample_rate: int, band: dict[str, float], line: str, tmp_path: Path
) -> None:
    student = distill.create_student("cnn", width=0.1, **band)
    found = lines_of(student, tmp_path, sample_rate)
    assert len(found) == bool(line)
    assert line in "".join(found)


def test_only_a_users_class_that_breaks_the_contract_gets_a_line() -> None:
    with pytest.warns(UserWarning, match="Padded breaks the contract of encoders"):
        check_encoders(Padded(), {"spectral": Spectral()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_encoders(TinyConvolution(), {"spectral": Spectral()})


@pytest.mark.parametrize(
    ("crop", "durations", "refused"),
    [
        (0.0, (5.0, 601.0), True),
        (900.0, (5.0, 601.0), True),
        (0.0, (5.0, 600.0), False),
        (600.0, (5.0, 3600.0), False),
        (10.0, (5.0, 3600.0), False),
        (0.0, (None,), True),  # its header states 700 s
        (0.0, (), False),
    ],
)
def test_training_on_hours_at_once_is_refused(
    crop: float, durations: tuple[float | None, ...], refused: bool, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(70_000), 100)
    rows = [Row(f"clip{n}", tmp_path / "x.wav", 0.0, duration) for n, duration in enumerate(durations)]
    if not refused:
        check_lengths(Manifest(tmp_path, rows), distill.Crop(crop))
        return
    with pytest.raises(UserError, match=r"needs too much memory, and clip\d has 1\d minutes; use --crop\.seconds 10"):
        check_lengths(Manifest(tmp_path, rows), distill.Crop(crop))


def test_a_run_and_a_fine_tuning_check_the_lengths(tmp_path: Path) -> None:
    for number, label in enumerate("abab"):
        (tmp_path / "sounds" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "sounds" / label / f"{number}.wav", np.zeros(70_000), 100)
    data, whole = str(tmp_path / "sounds"), distill.Crop(0)
    with pytest.raises(UserError, match="needs too much memory"):
        distill.fit(teacher="spectral", student="cnn", data=data, out=str(tmp_path / "run"), crop=whole)
    student = distill.create_student("cnn", width=0.1)
    save_student(student, tmp_path / "student", "")
    with pytest.raises(UserError, match="needs too much memory"):
        distill.probe(
            data, model=str(tmp_path / "student"), protocol="finetune", crop=whole, workers=0, out=str(tmp_path / "p")
        )
