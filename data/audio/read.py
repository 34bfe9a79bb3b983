"""Decode audio files to mono samples. Only the requested span of a file is read.

The reasons in `AudioError` are a closed set: missing, permission, symlink_loop, not_regular_file, bad_name, unreadable,
empty_file, unrecognised_format, unsupported_format, unfinished_header, malformed, truncated, unknown_length,
bad_sample_rate, too_many_channels, too_short, wrong_scale, non_finite_audio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from distill.data.audio.opening import Sound, open_file, open_sound
from distill.data.audio.parts import Part
from distill.data.audio.wav import MemoryWav
from distill.data.errors import AudioError, as_text, first_line

__all__ = [
    "AUDIO_SUFFIXES",
    "CONVERTIBLE_SUFFIXES",
    "FULL_SCALE",
    "WHOLE_FILE",
    "Samples",
    "Span",
    "as_text",
    "blocks",
    "duration",
    "read",
    "sample_rate_of",
]

MAX_PEAK = 1e3  # a float file with a larger sample is not in [-1, 1]
MIN_SECONDS = 0.01
MIN_DECODED_SHARE = 0.98  # decoded samples / samples in the header
FULL_SCALE = np.float32(2**-15)  # scales 16-bit samples to [-1, 1]
CHANNEL_POLICY = "mean"  # part of every fingerprint
_DAMAGES = (RuntimeError, ValueError, MemoryError)
_USUAL_PEAK = 2.0  # whole numbers above it are in units of 16 bits, or of more

Samples = NDArray[np.float32] | NDArray[np.int16]
"""float32 in [-1, 1], or int16 as stored in the file."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The part of a file to decode: a window of the file, and optionally a crop of that window.

    Args:
        start: Start of the window, in seconds.
        duration: Length of the window, in seconds. None means to the end of the file. A window that ends after the
            file is cut there.
        max_seconds: Length of the crop, in seconds. None means the whole window; so does a shorter window.
        crop_position: Where the crop lies inside the window. 0: at the start, 0.5: centred, 1: at the end.
    """

    start: float = 0.0
    duration: float | None = None
    max_seconds: float | None = None
    crop_position: float = 0.0

    def in_samples(self, sample_rate: int, total: int) -> tuple[int, int]:
        """Return the first sample and the number of samples, for a file of `total` samples at `sample_rate` Hz.

        Raises:
            AudioError: the window starts after the end of the file.
        """
        first = round(self.start * sample_rate)
        if first >= total:
            raise AudioError(
                "too_short", f"{total / sample_rate:.3f} s long, but the window starts at {self.start:g} s"
            )
        samples = total - first
        if self.duration is not None:
            samples = min(samples, round(self.duration * sample_rate))
        if self.max_seconds is not None and (spare := samples - round(self.max_seconds * sample_rate)) > 0:
            return first + round(self.crop_position * spare), samples - spare
        return first, samples


WHOLE_FILE = Span()


def read(path: str | os.PathLike[str], span: Span = WHOLE_FILE, part: Part | None = None) -> tuple[Samples, int]:
    """Decode a span of a file and mix it to mono by the mean of its channels.

    A 16-bit file with one channel is returned as int16, which takes half the memory. The caller scales it by
    `FULL_SCALE` when it copies the samples.

    Args:
        path: A file of any format that libsndfile reads, with any suffix, or a container of such files.
        span: The part of the sound to decode.
        part: The part of a container that holds the sound. None: the whole file is the sound.

    Returns:
        Samples of shape (samples,), int16 or float32 in [-1, 1], and their sample rate in Hz.

    Raises:
        AudioError: the file cannot be used; `reason` holds the code of the reason.
    """
    with open_file(path, part) as file, open_sound(file, path, part) as sound:
        expected = _begin(sound, span)
        samples = _decode(sound, expected)
        _require_samples(len(samples), expected)
        return samples, int(sound.samplerate)


def blocks(
    path: str | os.PathLike[str], span: Span = WHOLE_FILE, part: Part | None = None, *, seconds: float
) -> Iterator[Samples]:
    """Decode a span of a file block by block. The blocks together are the samples of `read`.

    The memory depends on the length of a block and not on the length of the file. An error that `read` raises is
    raised here too: by the header before the first block, otherwise after the blocks that precede the fault.

    Args:
        path: As for `read`.
        span: The part of the sound to decode.
        part: As for `read`.
        seconds: Length of a block. The last block may be shorter. It is rounded to samples, and is at least one sample.

    Yields:
        Samples of shape (samples,), int16 or float32 in [-1, 1], all at `sample_rate_of(path)` Hz.

    Raises:
        AudioError: the file cannot be used; `reason` holds the code of the reason.
    """
    with open_file(path, part) as file, open_sound(file, path, part) as sound:
        expected = _begin(sound, span)
        block, decoded = max(1, round(seconds * sound.samplerate)), 0
        while decoded < expected:
            samples = _decode(sound, min(block, expected - decoded))
            if len(samples) == 0:
                break
            yield samples
            decoded += len(samples)
        _require_samples(decoded, expected)


def duration(path: str | os.PathLike[str], part: Part | None = None) -> float:
    """Return the seconds of audio in a file or in a part of it, as its header states. Raises AudioError."""
    with open_file(path, part) as file, open_sound(file, path, part) as sound:
        return sound.frames / sound.samplerate


def sample_rate_of(path: str | os.PathLike[str], part: Part | None = None) -> int:
    """Return the sample rate of a file or of a part of it in Hz, as its header states. Raises AudioError."""
    with open_file(path, part) as file, open_sound(file, path, part) as sound:
        return int(sound.samplerate)


def _begin(sound: Sound | MemoryWav, span: Span) -> int:
    """Move to the first sample of a span and return the number of its samples. Raises AudioError."""
    first, expected = span.in_samples(sound.samplerate, sound.frames)
    if sound.missing is not None and first + expected == sound.frames:
        raise AudioError("truncated", sound.missing)
    if expected < MIN_SECONDS * sound.samplerate:
        raise AudioError("too_short", f"{expected} samples at {sound.samplerate} Hz; must be at least {MIN_SECONDS} s")
    try:
        sound.skip(first)
    except _DAMAGES as error:
        raise AudioError("malformed", first_line(error)) from error
    return expected


def _require_samples(decoded: int, expected: int) -> None:
    """Raise AudioError if a file ended before its span."""
    if decoded < MIN_DECODED_SHARE * expected:
        raise AudioError("truncated", f"{decoded} of {expected} samples decoded")


def _decode(sound: Sound | MemoryWav, count: int) -> Samples:
    """Decode up to `count` samples from the present position on, as mono. Shape (samples,). Raises AudioError."""
    try:
        pieces = [_mono(piece) for piece in sound.pieces(count)]
    except _DAMAGES as error:
        raise AudioError("malformed", first_line(error)) from error
    if len(pieces) == 1:
        return pieces[0]
    return cast(Samples, np.concatenate(pieces)) if pieces else np.zeros(0, dtype=np.float32)


def _mono(samples: Samples) -> Samples:
    """Average channels (samples, channels) to (samples,). Raises AudioError for samples that are not finite."""
    if samples.dtype == np.int16:
        return samples[:, 0] if samples.shape[1] == 1 else _mean(samples * FULL_SCALE)
    if not (peak := np.abs(samples).max()) <= _USUAL_PEAK:  # `not <=` also finds NaN
        _require_scale(samples, peak)
    return _mean(np.asarray(samples, dtype=np.float32))


def _require_scale(samples: Samples, peak: float) -> None:
    """Raise AudioError for samples that are not finite, or in other units than [-1, 1]."""
    if not peak <= 2**31:
        raise AudioError("non_finite_audio", f"a sample is {peak}")
    if peak > MAX_PEAK or np.array_equal(samples, np.rint(samples)):
        raise AudioError(
            "wrong_scale",
            f"a sample is {peak:g}, but float audio must lie in [-1, 1]; "
            "if the unit is that of 16 bits, divide the samples by 32768 and write the file again",
        )


def _mean(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average channels (samples, channels) to (samples,)."""
    channels = samples.shape[1]
    if channels >= 8:  # from here on, numpy adds in another order, and the sums differ in the last bit
        return np.asarray(samples.mean(axis=1))
    mixed = samples[:, 0]
    for channel in range(1, channels):  # numpy's mean over a short last axis takes 20 times as long
        mixed = mixed + samples[:, channel]
    return mixed / np.float32(channels) if channels > 1 else mixed
