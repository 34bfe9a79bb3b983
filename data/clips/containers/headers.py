"""The headers of a tar: where its members lie. Nothing is extracted.

The standard library takes about ten times as long for a header, and reads headers of any length into memory. See
https://www.gnu.org/software/tar/manual/html_node/Standard.html and pax(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from distill.data.audio.parts import ReadAt

BLOCK = 512
_MAX_NAME = 1 << 16  # bytes of a header that holds a long name
_KINDS = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    **dict.fromkeys((b"1", b"2"), "link"),
    **dict.fromkeys((b"3", b"4", b"6"), "device"),
    b"5": "folder",
    b"S": "sparse",
}
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


class TarError(Exception):
    """A tar, or the rest of it, that cannot be read."""


class Entry(NamedTuple):
    """A member of a tar.

    Args:
        name: Its path in the tar. It is never used as the path of a file.
        kind: "file", "link", "folder", "device", "sparse" or "other".
        first: Offset of its content.
        size: Bytes of its content. They may end after the tar.
    """

    name: str
    kind: str
    first: int
    size: int


def entries(read_at: ReadAt, size: int) -> Iterator[Entry]:
    """Yield the members of a tar in their order.

    Args:
        read_at: Reads the tar.
        size: Bytes of the tar.

    Raises:
        TarError: the file is compressed or no tar, or a header is damaged; then the members after it are lost.
    """
    place, long_name, extended = 0, "", _Extended()
    while place < size:
        block = read_at(place, BLOCK)
        if not block.strip(b"\0") and len(block) == BLOCK:
            return
        _check(block, place)
        kind, length, first = block[156:157], _number(block[124:136], place), place + BLOCK
        if kind in (b"x", b"g", b"L", b"K"):  # it describes the next member
            place = first + _blocks(length)
            if kind in (b"x", b"L"):
                content = _long(read_at, first, length)
                if kind == b"L":
                    long_name = _text(content)
                else:
                    extended = _Extended.read(content, first)
            continue
        name = extended.name or long_name or _name(block)
        length = length if extended.size is None else extended.size
        while kind == b"S" and block[482 if first == place + BLOCK else 504]:  # more headers of a sparse file
            block, first = read_at(first, BLOCK), first + BLOCK
            if len(block) < BLOCK:
                raise TarError(f"the header at byte {place:,} is cut off")
        word = _KINDS.get(kind, "other")
        if extended.sparse:
            word = "sparse"
        elif word == "file" and name.endswith("/"):  # as tars before POSIX write a folder
            word = "folder"
        yield Entry(name.rstrip("/"), word, first, length)
        place = first + (0 if word in ("link", "device", "folder") else _blocks(length))
        long_name, extended = "", _Extended()


class _Extended(NamedTuple):
    """What a pax header says of the next member."""

    name: str = ""
    size: int | None = None
    sparse: bool = False

    @classmethod
    def read(cls, content: bytes, place: int) -> _Extended:
        """Read the content of a pax header: lines of "LENGTH KEY=VALUE"."""
        values: dict[bytes, bytes] = {}
        begin = 0
        while begin < len(content) and content[begin]:
            digits, _, _ = content[begin : begin + 8].partition(b" ")
            if not digits.isdigit() or not 3 < int(digits) <= len(content) - begin:
                raise TarError(f"the pax header at byte {place:,} is damaged")
            key, _, value = content[begin + len(digits) + 1 : begin + int(digits) - 1].partition(b"=")
            values[key] = value
            begin += int(digits)
        size = values.get(b"size")
        if size is not None and not size.isdigit():
            raise TarError(f"the pax header at byte {place:,} is damaged")
        is_sparse = any(key.startswith(b"GNU.sparse") for key in values)
        return cls(_text(values.get(b"path", b"")), None if size is None else int(size[:20]), is_sparse)


def _check(block: bytes, place: int) -> None:
    """Raise TarError if a block is not a header."""
    if place == 0:
        for signature, name in _COMPRESSED.items():
            if block.startswith(signature):
                raise TarError(f"compressed by {name}, so no member can be read alone; decompress it first")
    if len(block) == BLOCK:
        total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        with suppress(TarError):  # a sum that is no number does not hold either
            if total == _number(block[148:156], place):
                return
    if place == 0:
        raise TarError("not a tar")
    lost = "is cut off" if len(block) < BLOCK else "is damaged"
    raise TarError(f"the header at byte {place:,} {lost}; members after it are not read")


def _number(field: bytes, place: int) -> int:
    """Read a number: octal digits, or binary after a byte of 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if digits and not all(48 <= digit < 56 for digit in digits):
        raise TarError(f"the header at byte {place:,} is damaged; members after it are not read")
    return int(digits or b"0", 8)


def _long(read_at: ReadAt, first: int, length: int) -> bytes:
    """Read the content of a header."""
    if length > _MAX_NAME:
        raise TarError(f"the header at byte {first:,} has {length:,} bytes; members after it are not read")
    return read_at(first, length)


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _blocks(size: int) -> int:
    """Return the bytes that content takes: whole blocks."""
    return -(-size // BLOCK) * BLOCK
