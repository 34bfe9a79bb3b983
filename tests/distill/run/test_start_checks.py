"""Checks at the start of a run: the contract of a user's encoders, and the band of frequencies."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.run.start_checks import check_band, check_encoders, highest_frequency
from tests.own_parts import TinyConvolution


class ShiftedByPadding(TinyConvolution):
    """A student whose embedding depends on the padding of a clip."""

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        embeddings = super().encode(batch)
        return embeddings._replace(clip=embeddings.clip + batch.waveform.shape[1])


class Kind(distill.Student):
    """A student with a sample rate of its own."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(batch.waveform[:, :1])


def clips(folder: Path, *rates: int) -> Manifest:
    for number, rate in enumerate(rates):
        soundfile.write(folder / f"{number:02d}.wav", np.zeros(100, np.float32), rate)
    return read_manifest(folder)


def warned(student: distill.Student, teachers: list[distill.Teacher], manifest: Manifest) -> list[str]:
    """Return the messages of `check_band`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_band(student, teachers, manifest)
    return [str(one.message) for one in caught]


def test_a_users_encoder_that_breaks_the_contract_is_named() -> None:
    with pytest.warns(UserWarning, match="ShiftedByPadding breaks the contract of encoders: "):
        check_encoders(ShiftedByPadding(), {})


def test_our_own_encoders_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.run.start_checks.check_contract", lambda encoder: pytest.fail("it was checked"))
    check_encoders(distill.create_student("mobilenet_v3", width=0.1), {"one": distill.create_teacher("spectral")})


@pytest.mark.parametrize(
    ("rate", "teacher_rate", "message"),
    [
        (16_000, 16_000, ""),
        (16_000, None, "covers 0 to 8000 Hz, but clips and teacher reach 22050 Hz; .* --student.sample_rate 44100"),
        (8_000, 32_000, "covers 0 to 4000 Hz, but clips and teacher reach 16000 Hz; .* --student.sample_rate 32000"),
        (96_000, None, "covers 0 to 48000 Hz, but the clips end at 22050 Hz; .* --student.sample_rate 44100"),
        (44_100, None, ""),
    ],
)
def test_the_band_of_the_student_is_compared_with_clips_and_teachers(
    rate: int, teacher_rate: int | None, message: str, tmp_path: Path
) -> None:
    teachers = []
    if teacher_rate is not None:
        teachers.append(distill.create_teacher("spectral"))
        teachers[0].sample_rate = teacher_rate
    found = warned(Kind(rate), teachers, clips(tmp_path, 44_100))
    assert len(found) == bool(message)
    assert not found or re.search(message, found[0])


def test_clips_that_cannot_be_read_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no audio")
    manifest = read_manifest(tmp_path)
    assert highest_frequency(manifest) == 0
    assert warned(Kind(96_000), [], manifest) == []


def test_the_highest_rate_of_a_few_spread_files_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = clips(tmp_path, 8_000, 48_000, 16_000, 8_000)
    (tmp_path / "02.wav").write_text("no audio")
    assert highest_frequency(manifest) == 24_000
    monkeypatch.setattr("distill.run.start_checks._FILES", 2)  # the first and the third
    assert highest_frequency(manifest) == 4_000
