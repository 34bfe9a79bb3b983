"""Sounds at addresses such as s3://bucket/clip.flac, read by fsspec if it is installed."""

from __future__ import annotations

import errno
import io
import re
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from distill.data.audio.parts import MAX_BYTES_IN_MEMORY, Member, Part, PartReader, Range, open_part, reader_of
from distill.data.errors import AudioError, UserError, first_line

_FIRST_BYTES = 1 << 20  # of a file, in one request; most sounds are shorter
_CACHED_BLOCKS = 16  # of the same size, for each longer sound
_VERSIONS = (  # in the facts of a file, by the names that the packages of fsspec give them; the most exact first
    "ETag", "etag", "md5Hash", "Content-MD5", "Digest", "LastModified", "last_modified", "Last-Modified", "updated",
    "mtime", "created",
)  # fmt: skip
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


def state_of(address: str) -> tuple[int, int]:
    """Return the size in bytes and a number of the version of a file of another machine.

    The number is never 0. It is 1 if the machine tells no version, and then only a change of the size is seen. Both are
    0 if the file cannot be read.
    """
    try:
        system, path = file_system(address)
        facts = system.info(path)
        return (int(facts.get("size") or 0), version_of(facts) or 1) if facts.get("type") != "directory" else (0, 0)
    except Exception:  # each package has its own
        return 0, 0


def version_of(facts: Mapping[str, Any]) -> int:
    """Return a number that changes with a file, from what fsspec tells of it: at least 2. 0: it tells no version."""
    value = next((facts[name] for name in _VERSIONS if facts.get(name) is not None), None)
    return 0 if value is None else 2 + zlib.crc32(str(value).encode("utf-8", "replace"))


def open_address(address: str, part: Part | None = None) -> BinaryIO:
    """Open a file of another machine. A short one is read in one request, a longer one in blocks, as they are needed.

    Args:
        address: The file.
        part: The part of it that is opened. None: all of it.

    Raises:
        AudioError: the file does not exist, cannot be read, or does not hold the part.
    """
    if part is None:
        return _open_file(address)
    if isinstance(part, Member) and 0 < part.size <= MAX_BYTES_IN_MEMORY:
        return _open_member(address, part)
    return open_part(_open_file(address), part)


def _open_member(address: str, member: Member) -> BinaryIO:
    """Read a range of bytes in one request."""
    try:
        system, path = file_system(address)
        content = system.cat_file(path, start=member.first, end=member.first + member.size)
    except Exception as error:  # each package has its own
        raise _audio_error(error) from error
    if len(content) > member.size:
        raise AudioError("unreadable", "the server sends whole files only, no parts of them")
    if len(content) < member.size:
        raise AudioError("truncated", f"the container holds {len(content)} of {member.size} bytes of the sound")
    return io.BytesIO(content)


def _open_file(address: str) -> BinaryIO:
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
