"""Decode audio files to mono samples. Only the requested span of a file is read.

The reasons in `AudioError` are a closed set: missing, permission, symlink_loop, not_regular_file, bad_name,
empty_file, unrecognised_format, unsupported_format, malformed, truncated, unknown_length, bad_sample_rate,
too_many_channels, too_short, non_finite_audio.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, SIGNATURE_BYTES, unsupported
from distill.data.audio.parts import Part, open_part, reader_of
from distill.data.audio.remote import Address, open_address
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

SAMPLE_RATES = range(100, 400_001)  # Hz; hydrophones have 1 kHz, bat detectors 384 kHz
MAX_CHANNELS = 64
MAX_PEAK = 1e3  # a float file with a larger sample is not audio
MIN_SECONDS = 0.01
MIN_DECODED_SHARE = 0.98  # decoded samples / samples in the header
FULL_SCALE = np.float32(2**-15)  # scales 16-bit samples to [-1, 1]
CHANNEL_POLICY = "mean"  # part of every fingerprint
_INT16 = "PCM_16"
_UNKNOWN_LENGTH = 1 << 40  # libsndfile reports 2^63-1 samples for a FLAC of unknown length
_PIECE_VALUES = 1 << 23  # decoded at a time, over all channels: 32 MB of float32

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
        path: A WAV, FLAC, OGG, Opus, MP3 or AIFF file with any extension, or a container of such files.
        span: The part of the sound to decode.
        part: The part of a container that holds the sound. None: the whole file is the sound.

    Returns:
        Samples of shape (samples,), int16 or float32 in [-1, 1], and their sample rate in Hz.

    Raises:
        AudioError: the file cannot be used; `reason` holds the code of the reason.
    """
    with _at_span(path, span, part) as (sound, expected):
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
    with _at_span(path, span, part) as (sound, expected):
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
    with _open(path, part) as file, _open_sound(file, path, part) as sound:
        return sound.frames / sound.samplerate


def sample_rate_of(path: str | os.PathLike[str], part: Part | None = None) -> int:
    """Return the sample rate of a file or of a part of it in Hz, as its header states. Raises AudioError."""
    with _open(path, part) as file, _open_sound(file, path, part) as sound:
        return int(sound.samplerate)


def _open(path: str | os.PathLike[str], part: Part | None) -> BinaryIO:
    """Open a sound: a file, or a part of it. Raises AudioError."""
    file = open_address(path) if isinstance(path, Address) else _open_regular_file(path)
    return file if part is None else open_part(file, part)


def _open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises AudioError unless it is a regular file with content."""
    # libsndfile reports a missing file like a damaged one, and blocks on a pipe; so the file is opened here.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise AudioError("bad_name", str(error)) from error
    except OSError as error:
        reasons = {errno.ENOENT: "missing", errno.EACCES: "permission", errno.ELOOP: "symlink_loop"}
        if error.errno in reasons:
            raise AudioError(reasons[error.errno], os.strerror(error.errno)) from error
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise AudioError("bad_name", os.strerror(error.errno)) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise AudioError("empty_file", "0 bytes")
        raise AudioError("not_regular_file", "a folder, pipe or device")
    return os.fdopen(descriptor, "rb")


def _handle(file: BinaryIO) -> int | BinaryIO:
    """Return the descriptor of a file, which libsndfile reads without Python, or the file itself if it has none."""
    try:
        return file.fileno()
    except OSError:
        return file


def _riff_size(file: BinaryIO) -> int | None:
    """Return the file size in bytes that a RIFF header states. None for other formats and for unknown lengths."""
    head = reader_of(file)[0](0, 8)
    if len(head) < 8 or head[:4] != b"RIFF":
        return None
    size = struct.unpack("<I", head[4:])[0]
    return None if size in (0, 0xFFFFFFFF) else size + 8


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """An audio file that is read from one position to the end, without a seek after each block.

    soundfile seeks after each block of a file that can seek. For MP3 this changes the last bits of the next block.
    """

    def seekable(self) -> bool:
        return False

    def skip(self, count: int) -> None:
        """Move from the first sample to sample `count`."""
        if not super().seekable():  # GSM and G.72x
            for _ in _pieces(self, count):
                pass
        elif count:
            self.seek(count)


def _open_sound(file: BinaryIO, path: str | os.PathLike[str], part: Part | None) -> _Sequential:
    """Read the header of an audio file. Raises AudioError for audio that no encoder can use."""
    try:
        sound = _Sequential(_handle(file), closefd=False)
    except (RuntimeError, TypeError, ValueError) as error:
        head = reader_of(file)[0](0, SIGNATURE_BYTES)
        detail = getattr(error, "error_string", None) or first_line(error)  # without the address of the open file
        name = path if part is None else "SOUND"
        raise unsupported(name, head) or AudioError("unrecognised_format", detail) from error
    if sound.samplerate not in SAMPLE_RATES:
        raise AudioError("bad_sample_rate", f"{sound.samplerate} Hz")
    if sound.channels > MAX_CHANNELS:
        raise AudioError("too_many_channels", str(sound.channels))
    if sound.frames == 0 and sound.format == "OGG":  # an OGG file states its length in the last page
        raise AudioError("malformed", "the last page is missing; is the file cut off?")
    if sound.frames >= _UNKNOWN_LENGTH:
        raise AudioError("unknown_length", "the header states no length; rewrite the file with sox or ffmpeg")
    return sound


@contextmanager
def _at_span(path: str | os.PathLike[str], span: Span, part: Part | None) -> Iterator[tuple[_Sequential, int]]:
    """Open a file at the first sample of a span, and yield it with the number of samples of the span."""
    with _open(path, part) as file, _open_sound(file, path, part) as sound:
        first, expected = span.in_samples(sound.samplerate, sound.frames)
        promised_bytes, actual_bytes = _riff_size(file), reader_of(file)[1]
        # libsndfile shortens a truncated WAV without an error; only the RIFF header shows the loss.
        if promised_bytes is not None and promised_bytes > actual_bytes and first + expected == sound.frames:
            raise AudioError("truncated", f"the header promises {promised_bytes} bytes, the file has {actual_bytes}")
        if expected < MIN_SECONDS * sound.samplerate:
            raise AudioError(
                "too_short", f"{expected} samples at {sound.samplerate} Hz; must be at least {MIN_SECONDS} s"
            )
        try:
            sound.skip(first)
            yield sound, expected
        except (RuntimeError, ValueError, MemoryError) as error:
            raise AudioError("malformed", first_line(error)) from error


def _require_samples(decoded: int, expected: int) -> None:
    """Raise AudioError if a file ended before its span."""
    if decoded < MIN_DECODED_SHARE * expected:
        raise AudioError("truncated", f"{decoded} of {expected} samples decoded")


def _decode(sound: _Sequential, count: int) -> Samples:
    """Decode up to `count` samples from the present position on, as mono. Shape (samples,). Raises AudioError."""
    pieces = [_mono(piece) for piece in _pieces(sound, count)]
    if len(pieces) == 1:
        return pieces[0]
    return cast(Samples, np.concatenate(pieces)) if pieces else np.zeros(0, dtype=np.float32)


def _pieces(sound: _Sequential, count: int) -> Iterator[Samples]:
    """Yield up to `count` samples in pieces of shape (samples, channels)."""
    # A header may state a false length of many hours; pieces allocate only for samples that exist.
    dtype = "int16" if sound.subtype == _INT16 else "float32"  # libsndfile's int16 to float32 takes four times as long
    longest = max(1, _PIECE_VALUES // sound.channels)
    while count > 0:
        piece = sound.read(min(count, longest), dtype=dtype, always_2d=True)
        if len(piece) == 0:
            return
        yield piece
        count -= len(piece)


def _mono(samples: Samples) -> Samples:
    """Average channels (samples, channels) to (samples,). Raises AudioError for samples that are not finite."""
    if samples.dtype == np.int16:
        return samples[:, 0] if samples.shape[1] == 1 else _mean(samples * FULL_SCALE)
    if not (peak := np.abs(samples).max()) <= MAX_PEAK:  # `not <=` also finds NaN
        raise AudioError("non_finite_audio", f"a sample is {peak}")
    return _mean(np.asarray(samples, dtype=np.float32))


def _mean(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average channels (samples, channels) to (samples,)."""
    channels = samples.shape[1]
    if channels >= 8:  # from here on, numpy adds in another order, and the sums differ in the last bit
        return np.asarray(samples.mean(axis=1))
    mixed = samples[:, 0]
    for channel in range(1, channels):  # numpy's mean over a short last axis takes 20 times as long
        mixed = mixed + samples[:, channel]
    return mixed / np.float32(channels) if channels > 1 else mixed
