"""Checks of a run's encoders at its start: a user's own classes, and the band of frequencies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from distill.data.audio.read import sample_rate_of
from distill.data.clips.manifest import Manifest
from distill.data.encoders.contract import check_contract
from distill.data.errors import AudioError
from distill.students.student import Student
from distill.teachers.teacher import Teacher

_FILES = 20  # whose sample rates are read
_LOST_SHARE = 0.5  # of the band of clips and teacher; a smaller part is a mistake


def check_encoders(student: Student, teachers: Mapping[str, Teacher]) -> None:
    """Warn of each violation of the contract of `Encoder` by a class that is not part of this package."""
    for encoder in [*teachers.values(), student]:
        kind = type(encoder)
        if not kind.__module__.startswith("distill."):
            for line in check_contract(encoder):
                warnings.warn(f"{kind.__name__} breaks the contract of encoders: {line}", stacklevel=2)


def check_band(student: Student, teachers: Iterable[Teacher], manifest: Manifest) -> None:
    """Warn if the student covers less than half of the frequencies of clips and teachers, or mostly empty ones.

    Args:
        student: Student to train.
        teachers: Teachers that it imitates.
        manifest: Clips, of which a few are read.
    """
    clips = highest_frequency(manifest)
    if not clips:
        return
    limits = [clips, *(teacher.sample_rate / 2 for teacher in teachers)]
    low, high = student.frequency_band
    if high < _LOST_SHARE * min(limits):
        warnings.warn(
            f"the student covers {low:g} to {high:g} Hz, but clips and teacher reach {min(limits):g} Hz; "
            f"convolutional students take --student.sample_rate {2 * min(limits):.0f}",
            stacklevel=2,
        )
    if clips < _LOST_SHARE * high:
        warnings.warn(
            f"the student covers {low:g} to {high:g} Hz, but the clips end at {clips:g} Hz; "
            f"convolutional students take --student.sample_rate {2 * clips:.0f}",
            stacklevel=2,
        )


def highest_frequency(manifest: Manifest) -> float:
    """Return half of the highest sample rate of a few evenly spread files, in Hz; 0 if none can be read."""
    rates = [0]
    for row in manifest.rows[:: max(1, len(manifest) // _FILES)]:
        try:
            rates.append(sample_rate_of(row.path, row.part))
        except AudioError:
            continue  # decoding reports the reason
    return max(rates) / 2
