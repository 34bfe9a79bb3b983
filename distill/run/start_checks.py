"""Checks at the start of a run: a user's own classes, the band of frequencies, and the length of clips."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from distill.data.audio.read import as_text, sample_rate_of
from distill.data.clips.dataset import Crop, clip_seconds
from distill.data.clips.manifest import Manifest
from distill.data.encoders.contract import check_contract
from distill.data.errors import AudioError, UserError
from distill.students.student import Student
from distill.teachers.teacher import Teacher

_FILES = 20  # whose sample rates are read
_LONGEST = 600.0  # seconds of a clip in a training step
_LOST_SHARE = 0.5  # of the band of clips and teacher; a smaller part is a mistake


def check_encoders(student: Student, teachers: Mapping[str, Teacher]) -> None:
    """Warn of each violation of the contract of `Encoder` by a class that is not part of this package."""
    for encoder in [*teachers.values(), student]:
        kind = type(encoder)
        if not kind.__module__.startswith("distill."):
            for line in check_contract(encoder):
                warnings.warn(f"{kind.__name__} breaks the contract of encoders: {line}", stacklevel=2)


def check_lengths(manifest: Manifest, crop: Crop) -> None:
    """Raise UserError if training had to hold clips of more than 10 minutes in memory.

    Args:
        manifest: Clips to train on. If the crop leaves long clips, the headers of clips of unknown length are read.
        crop: Part of each clip that is used.
    """
    if 0 < crop.seconds <= _LONGEST:
        return
    seconds = clip_seconds(manifest)
    if len(seconds) and seconds.max() > _LONGEST:
        longest = manifest.ids[int(seconds.argmax())]
        raise UserError(
            f"--crop.seconds {crop.seconds:g}: training on parts of more than {_LONGEST / 60:g} minutes needs too much "
            f"memory, and {as_text(longest)} has {seconds.max() / 60:.0f} minutes; use --crop.seconds 10, or the "
            "windows of `distill embed --windows` as --data"
        )


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
