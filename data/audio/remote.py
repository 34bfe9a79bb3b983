"""Sounds at addresses such as s3://bucket/clip.flac, read by fsspec if it is installed."""

from __future__ import annotations

import errno
import io
import re
from typing import Any, BinaryIO

from distill.data.audio.parts import PartReader, Range, reader_of
from distill.data.errors import AudioError, UserError, first_line

_FIRST_BYTES = 1 << 20  # of a file, in one request; most sounds are shorter
_CACHED_BLOCKS = 16  # of the same size, for each longer sound
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


class Address(str):
    """The address of a file of another machine, as fsspec reads it."""


def is_address(text: str) -> bool:
    """Return whether a text is an address, and not the path of a file of this machine."""
    return _SCHEME.match(text) is not None


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises:
        UserError: fsspec, or its package for this kind of address, is not installed, or the address is wrong.
    """
    try:
        import fsspec.core

        system, path = fsspec.core.url_to_fs(address)
    except (
        Exception
    ) as error:  # ImportError with an install hint, ValueError for an unknown scheme, and any of a package
        hint = "; pip install 'audio-distill[remote]'" if isinstance(error, ImportError) else ""
        raise UserError(f"{address}: {first_line(error)}{hint}") from error
    return system, path


def open_address(address: str) -> BinaryIO:
    """Open a file of another machine. A short one is read in one request, a longer one in blocks, as they are needed.

    Raises:
        AudioError: the file does not exist, or cannot be read.
    """
    try:
        system, path = file_system(address)
        content = system.cat_file(path, start=0, end=_FIRST_BYTES)
        if not content:
            raise AudioError("empty_file", "0 bytes")
        if len(content) < _FIRST_BYTES:
            return io.BytesIO(content)
        cache = {"maxblocks": _CACHED_BLOCKS}
        file = system.open(path, "rb", block_size=_FIRST_BYTES, cache_type="blockcache", cache_options=cache)
        read_at, size = reader_of(file)
    except Exception as error:  # each package has its own
        raise _audio_error(error) from error

    def read_or_fail(offset: int, count: int) -> bytes:
        try:
            return read_at(offset, count)
        except Exception as error:
            raise _audio_error(error) from error

    return io.BufferedReader(PartReader(file, Range(read_or_fail, 0, size)), 1 << 16)


def _audio_error(error: Exception) -> AudioError:
    if isinstance(error, AudioError):
        return error
    reasons = {errno.ENOENT: "missing", errno.EACCES: "permission", errno.EPERM: "permission"}
    number = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError):
        return AudioError("missing", "no such file")
    return AudioError(reasons.get(number or 0, "unreadable"), first_line(error)[:200])
