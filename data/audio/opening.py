"""Open audio files. Every fault of a file becomes an `AudioError`; wrong headers are read as they were meant."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from distill.data.audio import headers, mpeg
from distill.data.audio.formats import conversion, unsupported
from distill.data.audio.parts import Part, ReadAt, open_part, reader_of
from distill.data.audio.remote import Address, open_address
from distill.data.audio.splice import AS_IT_IS, KnownViews, Splice, View
from distill.data.audio.wav import MemoryWav, open_wav
from distill.data.errors import AudioError, first_line

SAMPLE_RATES = range(100, 1_000_001)  # Hz; hydrophones have 1 kHz, bat detectors up to 1 MHz
MAX_CHANNELS = 64
_INT16 = "PCM_16"
_UNKNOWN_LENGTH = 1 << 40  # libsndfile reports 2^63-1 samples for a FLAC of unknown length
_PIECE_VALUES = 1 << 23  # decoded at a time, over all channels: 32 MB of float32
_MPEG_SUFFIXES = (".mp3", ".mp2", ".mp1", ".mpga")
_MALFORMED, _UNKNOWN_ENCODING = 3, 4  # codes of libsndfile
_REASONS = {  # of the system
    errno.ENOENT: "missing",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ELOOP: "symlink_loop",
    errno.ENOTDIR: "bad_name",
    errno.ENAMETOOLONG: "bad_name",
    errno.EILSEQ: "bad_name",
    errno.EINVAL: "bad_name",
    errno.ENXIO: "not_regular_file",
    errno.ENODEV: "not_regular_file",
}
_FAILURES = (RuntimeError, TypeError, ValueError)  # of soundfile
_lengths = KnownViews()
_NOT_REGULAR = "a folder, pipe, socket or device"
_NO_FAULTS_OF_A_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Sound(soundfile.SoundFile):  # type: ignore[misc]
    """An audio file that is read from one position to the end, without a seek after each block.

    soundfile seeks after each block of a file that can seek. For MP3 this changes the last bits of the next block.

    Args:
        source: A descriptor, or an object that can be read and sought. It is not closed with the sound.
        missing: What is lost at the end of the sound. None: nothing, as far as the header shows it.
    """

    def __init__(self, source: int | BinaryIO | Splice, missing: str | None = None) -> None:
        super().__init__(source, closefd=False)
        self.missing = missing

    def seekable(self) -> bool:
        """Return False."""
        return False

    def skip(self, count: int) -> None:
        """Move from the first sample to sample `count`. Raises RuntimeError."""
        if not super().seekable():  # GSM and G.72x
            for _ in self.pieces(count):
                pass
        elif count:
            self.seek(count)

    def pieces(self, count: int) -> Iterator[NDArray[np.float32] | NDArray[np.int16]]:
        """Yield up to `count` samples in pieces of shape (samples, channels). Raises RuntimeError.

        A header may state a false length of many hours; pieces allocate only for samples that exist.
        """
        dtype = "int16" if self.subtype == _INT16 else "float32"  # libsndfile takes four times as long to convert
        longest = max(1, _PIECE_VALUES // self.channels)
        while count > 0:
            piece = self.read(min(count, longest), dtype=dtype, always_2d=True)
            if len(piece) == 0:
                return
            yield piece
            count -= len(piece)


def open_file(path: str | os.PathLike[str], part: Part | None = None) -> BinaryIO:
    """Open a sound: a file of this machine or of another one, or a part of it. Raises AudioError."""
    if isinstance(path, Address):
        return open_address(path, part)
    file = _open_regular_file(path)
    return file if part is None else open_part(file, part)


def _open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises AudioError unless it is a regular file with content."""
    # libsndfile reports a missing file like a damaged one, and blocks on a pipe; so the file is opened here.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise AudioError("bad_name", first_line(error)) from error
    except OSError as error:
        if error.errno in _NO_FAULTS_OF_A_FILE:
            raise
        reason = _REASONS.get(error.errno or 0, "unreadable")
        detail = _NOT_REGULAR if reason == "not_regular_file" else error.strerror or first_line(error)
        raise AudioError(reason, detail) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise AudioError("empty_file", "0 bytes")
        raise AudioError("not_regular_file", _NOT_REGULAR)
    return os.fdopen(descriptor, "rb", buffering=0)


def open_sound(file: BinaryIO, path: str | os.PathLike[str], part: Part | None = None) -> Sound | MemoryWav:
    """Read the header of an audio file. Close the result before the file.

    Args:
        file: What `open_file` returned for `path` and `part`.
        path: The file, for messages.
        part: The part of it that is open, for messages.

    Raises:
        AudioError: no encoder can use the audio.
    """
    if isinstance(file, io.BytesIO) and (wav := open_wav(file.getvalue())) is not None:
        _require_usable(wav)
        return wav
    read_at, size = _reader(file)
    identity, name = _identity(file), path if part is None else "SOUND"
    head = read_at(0, headers.HEAD_BYTES)
    view = headers.view(head, read_at, size)
    if view is AS_IT_IS:
        view = mpeg.view(head, read_at, size, identity)
    try:
        sound = _try(file, read_at, view)
    except _FAILURES as error:
        salvaged = mpeg.salvage(read_at, size) if _is_mpeg(name, head) else AS_IT_IS
        if salvaged is AS_IT_IS:
            raise _refusal(error, name, head, view) from error
        sound = _try(file, read_at, salvaged)
    try:
        if sound.frames >= _UNKNOWN_LENGTH and sound.format == "FLAC":
            sound = _with_length(sound, file, read_at, head, size, identity)
        _require_usable(sound)
    except BaseException:
        sound.close()
        raise
    return sound


def _reader(file: BinaryIO) -> tuple[ReadAt, int]:
    """Return a function that reads a file at any place, and its bytes. The function raises AudioError."""
    read_at, size = reader_of(file)

    def read_or_fail(offset: int, count: int) -> bytes:
        try:
            return read_at(offset, count)
        except OSError as error:
            raise AudioError("unreadable", error.strerror or first_line(error)) from error

    return read_or_fail, size


def _identity(file: BinaryIO) -> object:
    """Return what differs between files of this machine. None: it is a part of a file, or a file of another machine."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _try(file: BinaryIO, read_at: ReadAt, view: View) -> Sound:
    """Open a file with libsndfile as a view shows it. Raises one of `_FAILURES`."""
    if view.pieces is not None:
        return Sound(Splice(read_at, view.pieces), view.missing)
    file.seek(0)  # libsndfile takes the present position as the start of the file
    try:
        source: int | BinaryIO = file.fileno()
    except OSError:
        source = file
    return Sound(source, view.missing)


def _is_mpeg(path: str | os.PathLike[str], head: bytes) -> bool:
    """Return whether a file that libsndfile refuses is named as MP3 and has no signature of another format."""
    return os.fspath(path).lower().endswith(_MPEG_SUFFIXES) and unsupported(path, head) is None


def _refusal(error: Exception, path: str | os.PathLike[str], head: bytes, view: View) -> AudioError:
    """Return why a file cannot be opened."""
    code = getattr(error, "code", None)
    if (other := unsupported(path, head)) is not None:
        return other
    if headers.is_blank(head):
        return AudioError("unfinished_header", "it begins with zeros; the recorder did not write the header")
    if view.missing is not None:
        return AudioError("truncated", view.missing)
    if code == _UNKNOWN_ENCODING:
        return conversion(path, "the encoding of this file")
    detail = getattr(error, "error_string", None) or first_line(error)  # without the address of the open file
    return AudioError("malformed" if code == _MALFORMED else "unrecognised_format", detail)


def _with_length(sound: Sound, file: BinaryIO, read_at: ReadAt, head: bytes, size: int, identity: object) -> Sound:
    """Return a FLAC that was written to a pipe, with its length. It is decoded once to count the samples."""

    def count() -> View:
        try:
            samples = sum(map(len, sound.pieces(_UNKNOWN_LENGTH)))
        except RuntimeError as error:
            raise AudioError("malformed", first_line(error)) from error
        return headers.with_flac_length(head, size, samples)

    view = _lengths.get(identity, count)
    sound.close()
    return _try(file, read_at, view)


def _require_usable(sound: Sound | MemoryWav) -> None:
    """Raise AudioError for audio that no encoder can use."""
    if sound.samplerate not in SAMPLE_RATES:
        raise AudioError(
            "bad_sample_rate", f"{sound.samplerate} Hz; must be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz"
        )
    if sound.channels > MAX_CHANNELS:
        raise AudioError("too_many_channels", f"{sound.channels}; must be at most {MAX_CHANNELS}")
    if sound.frames == 0 and sound.format == "OGG":  # an OGG file states its length in the last page
        raise AudioError("malformed", "the last page is missing; is the file cut off?")
    if sound.frames >= _UNKNOWN_LENGTH:
        raise AudioError("unknown_length", "the header states no length; rewrite the file with sox or ffmpeg")
