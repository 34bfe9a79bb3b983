"""Names of audio formats: what libsndfile reads, and what must be converted first."""

from __future__ import annotations

import os
import shlex

from distill.data.errors import AudioError, as_text

_READABLE = (
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .mp1 .mpga .aif .aiff .aifc .au .snd .caf "
    ".sph .nist .voc .avr .paf .pvf .sf .ircam .svx .8svx .16svx .htk .wve"
)
AUDIO_SUFFIXES = frozenset(_READABLE.split())
"""Suffixes of files that `distill.data.audio.read` decodes. Its functions look at the content and not at the name."""

_CONVERTIBLE = (
    ".m4a .m4b .m4r .aac .adts .alac .mp4 .mov .3gp .3ga .webm .weba .mkv .mka .wma .asf .amr .awb .ac3 .eac3 .dts "
    ".ape .wv .tta .tak .mpc .shn .ra .rm .spx .gsm .qcp .dsf .dff"
)
CONVERTIBLE_SUFFIXES = frozenset(_CONVERTIBLE.split())
"""Suffixes of audio and of video with sound that libsndfile does not read, but ffmpeg does."""

_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")

_SIGNATURES = (  # (offset, bytes at that place of the file, name of the format)
    (4, b"ftyp", "MP4 (AAC or ALAC)"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"ADIF", "AAC"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"ajkg", "Shorten"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b".RMF", "RealAudio"),
    (28, b"Speex   ", "Speex"),
)
SIGNATURE_BYTES = max(offset + len(signature) for offset, signature, _ in _SIGNATURES)


def is_tar(name: str) -> bool:
    """Return whether a file is a tar by its name. A compressed one cannot be read, and the error says so."""
    return name.lower().endswith(_TAR_SUFFIXES)


def unsupported(path: str | os.PathLike[str], head: bytes = b"") -> AudioError | None:
    """Return the error for audio that ffmpeg reads and libsndfile does not. None for everything else.

    The first bytes decide; the suffix decides where they are unknown.

    Args:
        path: The file. Its name is part of the command that the error shows.
        head: The first `SIGNATURE_BYTES` of the file. Optional.
    """
    suffix = os.path.splitext(path)[1]
    known = (name for offset, signature, name in _SIGNATURES if head[offset:].startswith(signature))
    name = next(known, suffix if suffix.lower() in CONVERTIBLE_SUFFIXES else None)
    return None if name is None else conversion(path, name)


def conversion(path: str | os.PathLike[str], name: str) -> AudioError:
    """Return the error for a file of a format that libsndfile does not read, with the command that converts it."""
    stem, suffix = os.path.splitext(os.fspath(path))
    files = (os.fspath(path), stem + (".wav" if suffix.lower() == ".flac" else ".flac"))
    source, target = (shlex.quote(as_text(file)) for file in files)
    return AudioError("unsupported_format", f"libsndfile does not read {name}; run: ffmpeg -i {source} -vn {target}")
