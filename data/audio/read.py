"""Decoding: any file to mono samples, reading only the window that is asked for.

The reasons in `AudioError` are a closed set: missing, permission, symlink_loop, not_regular_file, bad_name,
empty_file, unrecognised_format, malformed, truncated, unknown_length, bad_sample_rate, too_many_channels,
too_short, non_finite_audio.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from distill.data.errors import AudioError

SAMPLE_RATES = range(2_000, 400_001)  # Hz
MAX_CHANNELS = 64
MAX_PEAK = 1e3  # beyond this a float file holds no audio
MIN_SECONDS = 0.01
FULL_SCALE = np.float32(2**-15)  # of samples of 16 bits
_INT16 = "PCM_16"
TRUNCATED_BELOW = 0.98  # share of the promised samples that must decode
_UNKNOWN_LENGTH = 1 << 40  # libsndfile reports 2^63-1 for a FLAC of unknown length

CHANNEL_POLICY = "mean"  # part of every fingerprint

Samples = NDArray[np.float32] | NDArray[np.int16]
"""In [-1, 1], or of 16 bits."""


def read(
    path: str | os.PathLike[str],
    start: float = 0.0,
    duration: float | None = None,
    most: float | None = None,
    before: float = 0.0,
) -> tuple[Samples, int]:
    """Decode a window of a file and mix it to mono by the mean of its channels.

    One channel of 16 bits stays as it is: whoever copies the samples next can scale them on the way, by `FULL_SCALE`,
    and until then they take half of the memory.

    Args:
        path: A WAV, FLAC, OGG, Opus, MP3 or AIFF file, whatever its extension says.
        start: Where the window begins, in seconds.
        duration: How long it is, in seconds; None reads to the end. A window past the end is cut there.
        most: How much of the window is read, in seconds; None is all.
        before: Share of what is left out of the window that lies before what is read, from 0 to 1.

    Returns:
        Samples of shape (samples,), int16 or float32 in [-1, 1], and their sample rate in Hz.

    Raises:
        AudioError: the file cannot be used; `reason` says why.
    """
    with _open_regular_file(path) as file:
        promised_bytes = _riff_size(file)
        actual_bytes = os.fstat(file.fileno()).st_size
        with _sound(file) as sound:
            first, expected = _window(sound, start, duration, most, before)
            samples, sample_rate, frames = _decode(sound, first, expected), sound.samplerate, sound.frames
    # libsndfile clamps a cut WAV to what is there and says nothing; the RIFF header still tells.
    if promised_bytes is not None and promised_bytes > actual_bytes and expected == frames:
        raise AudioError("truncated", f"the header promises {promised_bytes} bytes, the file has {actual_bytes}")
    if len(samples) < TRUNCATED_BELOW * expected:
        raise AudioError("truncated", f"{len(samples)} of {expected} samples decoded")
    if len(samples) < MIN_SECONDS * sample_rate:
        raise AudioError("too_short", f"{len(samples)} samples at {sample_rate} Hz; {MIN_SECONDS} s are needed")
    if samples.dtype == np.int16:
        if samples.shape[1] == 1:
            return samples[:, 0], sample_rate
        samples = samples * FULL_SCALE
    elif not (peak := np.abs(samples).max()) <= MAX_PEAK:  # false for NaN too
        raise AudioError("non_finite_audio", f"a sample is {peak}")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    return np.ascontiguousarray(mono, dtype=np.float32), sample_rate


def duration(path: str | os.PathLike[str]) -> float:
    """Seconds of audio that a file's header promises. Raises AudioError."""
    with _open_regular_file(path) as file, _sound(file) as sound:
        return sound.frames / sound.samplerate


def _open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open by descriptor: libsndfile cannot tell a missing file from a bad one, and waits for ever on a pipe."""
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


def _riff_size(file: BinaryIO) -> int | None:
    """Bytes that a RIFF header says the file has; None for other formats and for streams of unknown length."""
    head = os.pread(file.fileno(), 8, 0)  # leaves the descriptor, which libsndfile reads from, at the start
    if len(head) < 8 or head[:4] != b"RIFF":
        return None
    size = struct.unpack("<I", head[4:])[0]
    return None if size in (0, 0xFFFFFFFF) else size + 8


def _sound(file: BinaryIO) -> soundfile.SoundFile:
    """Read the header and refuse what no encoder can use."""
    try:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise AudioError("unrecognised_format", _first_line(error)) from error
    if sound.samplerate not in SAMPLE_RATES:
        raise AudioError("bad_sample_rate", f"{sound.samplerate} Hz")
    if sound.channels > MAX_CHANNELS:
        raise AudioError("too_many_channels", str(sound.channels))
    if sound.frames == 0 and sound.format == "OGG":  # the length stands on the last page, which is not there
        raise AudioError("malformed", "the last page is missing; is the file cut off?")
    if sound.frames >= _UNKNOWN_LENGTH:
        raise AudioError("unknown_length", "the header does not say how long it is; write it again with sox or ffmpeg")
    return sound


def _window(
    sound: soundfile.SoundFile, start: float, duration: float | None, most: float | None, before: float
) -> tuple[int, int]:
    """The first sample to read and how many, of those that the header promises."""
    first = round(start * sound.samplerate)
    if first >= sound.frames:
        raise AudioError("too_short", f"{sound.frames / sound.samplerate:.3f} s long, asked from {start:g} s")
    samples = sound.frames - first
    if duration is not None:
        samples = min(samples, round(duration * sound.samplerate))
    if most is not None and (spare := samples - round(most * sound.samplerate)) > 0:
        return first + round(before * spare), samples - spare
    return first, samples


def _decode(sound: soundfile.SoundFile, first: int, wanted: int) -> Samples:
    """Samples of shape (samples, channels)."""
    try:
        if first:
            sound.seek(first)
        return _blocks(sound, wanted)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise AudioError("malformed", _first_line(error)) from error


def _blocks(sound: soundfile.SoundFile, wanted: int) -> Samples:
    """Read in blocks of a minute, so that a header that lies about hours allocates nothing."""
    kind = "int16" if sound.subtype == _INT16 else "float32"  # libsndfile's own conversion takes four times as long
    blocks = [np.zeros((0, sound.channels), dtype=kind)]
    while wanted > 0:
        block = sound.read(min(wanted, 60 * sound.samplerate), dtype=kind, always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block)
        wanted -= len(block)
    return blocks[1] if len(blocks) == 2 else np.concatenate(blocks)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def as_text(path: str | Path) -> str:
    """A path that is safe in one line of a log: whatever does not print is escaped."""
    text = os.fsdecode(path)
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode()
