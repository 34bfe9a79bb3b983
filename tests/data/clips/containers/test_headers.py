"""Members are found where the standard library finds them, and damaged tars are refused in one line."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from distill.data.clips.containers.headers import BLOCK, Entry, TarError, entries

NAMES = [
    "a.flac",
    "folder/b.flac",
    "é/ü 1.flac",
    "x" * 99,
    "y" * 101,
    "long/" * 40 + "z.flac",
    "q" * 300,
    "../up.flac",
    "/abs.flac",
]


def found(content: bytes) -> list[Entry]:
    return list(entries(lambda offset, size: content[offset : offset + size], len(content)))


def tar(names: list[str], form: int = tarfile.PAX_FORMAT, **fields: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as written:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 300 * number
            for field, value in fields.items():
                setattr(member, field, value)
            written.addfile(member, io.BytesIO(bytes([number]) * member.size))
    return file.getvalue()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_lie_where_the_standard_library_finds_them(form: int) -> None:
    names = [name for name in NAMES if form != tarfile.USTAR_FORMAT or len(name) < 100]
    content = tar(names, form, mtime=12345.6 if form == tarfile.PAX_FORMAT else 1)
    with tarfile.open(fileobj=io.BytesIO(content)) as written:
        assert found(content) == [Entry(m.name, "file", m.offset_data, m.size) for m in written]
        assert [entry.name for entry in found(content)] == names


def test_a_prefix_of_a_long_path_belongs_to_the_name() -> None:
    name = "folder/" * 20 + "a.flac"
    content = tar([name], tarfile.USTAR_FORMAT)
    assert content[345:352] == b"folder/"
    assert found(content)[0].name == name


def test_a_name_that_is_not_utf_8_keeps_its_bytes() -> None:
    assert found(tar(["\udcff.flac"], tarfile.GNU_FORMAT))[0].name == "\udcff.flac"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.DIRTYPE, "folder"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.CONTTYPE, "file"),
        (tarfile.AREGTYPE, "file"),
    ],
)
def test_each_member_has_a_kind(kind: bytes, word: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as written:
        member = tarfile.TarInfo("x")
        member.type, member.linkname = kind, "/etc/passwd" * 12
        written.addfile(member)
        after = tarfile.TarInfo("after")
        after.size = 5
        written.addfile(after, io.BytesIO(b"12345"))
    assert [(entry.name, entry.kind) for entry in found(file.getvalue())] == [("x", word), ("after", "file")]


@pytest.mark.parametrize("headers", [0, 1, 3])
def test_a_sparse_member_is_told_apart(headers: int) -> None:
    block = bytearray(tar(["s.wav"], tarfile.GNU_FORMAT)[:BLOCK])
    block[156:157], block[482] = b"S", headers > 0
    extra = b"".join(bytes(504) + bytes([number < headers - 1]) + bytes(7) for number in range(headers))
    content = checked(block) + extra + tar(["after"], tarfile.GNU_FORMAT)
    assert [(entry.name, entry.kind) for entry in found(content)] == [("s.wav", "sparse"), ("after", "file")]
    pax = tar(["s.wav"], pax_headers={"GNU.sparse.major": "1", "GNU.sparse.name": "real.wav"})
    assert found(pax)[0].kind == "sparse"


def checked(block: bytearray) -> bytes:
    """Return a header with a right checksum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def with_size(field: bytes) -> bytes:
    block = bytearray(tar(["a.wav"], tarfile.GNU_FORMAT)[:BLOCK])
    block[124:136] = field
    return checked(block)


HUGE = {
    "binary": (with_size(b"\x80" + b"\xff" * 11), (1 << 88) - 1),
    "octal": (with_size(b"7" * 11 + b"\0"), 8**11 - 1),
    "no number": (with_size(b"\0" * 12), 0),
}


@pytest.mark.parametrize("name", HUGE)
def test_any_size_is_only_a_number(name: str) -> None:
    content, size = HUGE[name]
    assert found(content + bytes(1024)) == [Entry("a.wav", "file", 512, size)]


def test_a_tar_without_an_end_is_complete() -> None:
    content = tar(NAMES, tarfile.GNU_FORMAT)
    last = found(content)[-1]
    assert found(content[: last.first + last.size]) == found(content)
    assert found(b"") == found(bytes(1024)) == []


def long_header(kind: bytes, size: int) -> bytes:
    block = bytearray(tar(["a"], tarfile.GNU_FORMAT)[:BLOCK])
    block[156:157], block[124:136] = kind, b"%011o\0" % size
    return checked(block)


DAMAGED = {
    "gzip": (b"\x1f\x8b" + bytes(600), "compressed by gzip, so no member can be read alone; decompress it first"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed by zstd"),
    "zip": (b"PK\x03\x04" + bytes(600), "compressed by zip"),
    "text": (b"hello" * 300, "not a tar"),
    "short": (b"hello", "not a tar"),
    "zeros": (bytes(100), "not a tar"),
    "negative size": (with_size(b"\xff" * 12), "the header at byte 0 is damaged"),
    "size is text": (with_size(b"12 monkeys 0"), "the header at byte 0 is damaged"),
    "cut in a header": (
        tar(["a"], tarfile.GNU_FORMAT)[:512] + tar(["b"])[:300],
        "the header at byte 512 is cut off; members",
    ),
    "garbage after a member": (
        tar(["a"], tarfile.GNU_FORMAT)[:512] + b"x" * 512,
        "the header at byte 512 is damaged; members",
    ),
    "long name": (long_header(b"L", 1 << 32), "the header at byte 512 has 4,294,967,296 bytes"),
    "pax": (long_header(b"x", 512) + b"999999 path=a\n".ljust(512, b"\0"), "the pax header at byte 512 is damaged"),
    "pax, negative": (
        long_header(b"x", 512) + b"-12 path=a\n".ljust(512, b"\0"),
        "the pax header at byte 512 is damaged",
    ),
    "pax, no size": (
        long_header(b"x", 512) + b"11 size=-1\n".ljust(512, b"\0"),
        "the pax header at byte 512 is damaged",
    ),
    "sparse, cut off": (
        checked(bytearray(long_header(b"S", 0)[:482] + b"\1" + bytes(29))) + bytes(9),
        "the header at byte 0 is cut",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line(name: str) -> None:
    content, message = DAMAGED[name]
    with pytest.raises(TarError) as error:
        found(content)
    assert str(error.value).startswith(message)


def test_members_before_the_damage_are_found() -> None:
    content = tar(NAMES, tarfile.GNU_FORMAT)
    place = [entry.first for entry in found(content)][3] - BLOCK
    damaged = content[:place] + b"#" * 20 + content[place + 20 :]
    members = entries(lambda offset, size: damaged[offset : offset + size], len(damaged))
    assert [next(members) for _ in range(3)] == found(content)[:3]
    with pytest.raises(TarError):
        next(members)


def test_damage_anywhere_ends_in_a_tar_error(tmp_path: Path) -> None:
    content = tar(NAMES) + tar(["c.wav"] * 3, tarfile.GNU_FORMAT)
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(len(content), size=3).tolist():
            struct.pack_into("B", damaged, place, int(generator.integers(256)))
        with contextlib.suppress(TarError):
            assert len(found(bytes(damaged))) <= len(NAMES) + 3
