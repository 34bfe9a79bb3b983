"""Files at addresses are read like files of this machine. `memory://` stands for a bucket."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from distill.data.audio import remote
from distill.data.audio.parts import Member
from distill.data.audio.read import Span, duration, read, sample_rate_of
from distill.data.audio.remote import Address, file_system, is_address, open_address, state_of, version_of
from distill.data.errors import AudioError, UserError
from tests.conftest import tone


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def put(bucket: fsspec.AbstractFileSystem, name: str, content: bytes) -> Address:
    bucket.pipe_file(f"/b/{name}", content)
    return Address(f"memory://b/{name}")


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(440, seconds), 16_000, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/a.wav", True),
        ("https://x.org/a.wav", True),
        ("C:\\a.wav", False),
        ("a.wav", False),
        ("a/b://c", False),
        ("://", False),
    ],
)
def test_an_address_has_a_scheme(text: str, expected: bool) -> None:
    assert is_address(text) is expected


@pytest.mark.parametrize("seconds", [0.5, 60])
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_remote_file_is_read_like_a_local_one(
    seconds: float, scheme: str, bucket: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    content = wav(seconds)
    (tmp_path / "a.wav").write_bytes(content)
    address = put(bucket, "a.wav", content) if scheme == "memory" else Address(f"file://{tmp_path}/a.wav")
    assert duration(address) == seconds
    assert sample_rate_of(address) == 16_000
    for span in (Span(), Span(start=0.1, duration=0.2), Span(max_seconds=0.3, crop_position=1)):
        assert np.array_equal(read(address, span)[0], read(tmp_path / "a.wav", span)[0])


class Counting(fsspec.AbstractFileSystem):
    """A file system that counts the bytes that are fetched."""

    protocol = "counting"
    content, fetched = b"", 0

    def info(self, path: str, **options: object) -> dict[str, object]:
        return {"name": path, "size": len(self.content), "type": "file"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        content = self.content[start:end]
        Counting.fetched += len(content)
        return content

    def _open(self, path: str, mode: str = "rb", **options: object) -> fsspec.spec.AbstractBufferedFile:
        file = fsspec.spec.AbstractBufferedFile(self, path, mode, **options)
        file._fetch_range = lambda start, end: self.cat_file(path, start, end)
        return file


def test_a_crop_of_a_long_file_fetches_its_blocks_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fsspec.register_implementation("counting", Counting, clobber=True)
    content = wav(600)  # 19 MB
    (tmp_path / "long.wav").write_bytes(content)
    monkeypatch.setattr(Counting, "content", content)
    monkeypatch.setattr(Counting, "fetched", 0)
    span = Span(start=300, duration=1)
    assert np.array_equal(read(Address("counting://b/long.wav"), span)[0], read(tmp_path / "long.wav", span)[0])
    assert Counting.fetched <= 4 << 20


def test_a_short_file_is_one_request(bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    address = put(bucket, "a.wav", wav(1))
    monkeypatch.setattr(type(bucket), "open", None)
    monkeypatch.setattr(type(bucket), "info", None)
    assert len(open_address(address).read()) == len(wav(1))


def failing(error: Exception) -> object:
    def cat_file(self: object, path: str, start: int, end: int) -> bytes:
        raise error

    return cat_file


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (FileNotFoundError("b/a.wav"), "missing", "no such file"),
        (PermissionError(13, "Forbidden"), "permission", "[Errno 13] Forbidden"),
        (OSError(5, "EIO"), "unreadable", "[Errno 5] EIO"),
        (RuntimeError("the token\nhas expired"), "unreadable", "the token"),
        (TimeoutError(), "unreadable", "TimeoutError"),
    ],
)
def test_what_a_server_refuses_is_set_aside(
    error: Exception, reason: str, detail: str, bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bucket), "cat_file", failing(error))
    with pytest.raises(AudioError) as found:
        read(put(bucket, "a.wav", b"x"))
    assert (found.value.reason, found.value.detail) == (reason, detail)


def test_a_connection_that_breaks_later_is_set_aside(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() + (size or 0) > 1 << 20:
                raise RuntimeError("connection reset")
            return super().read(size)

    address = put(bucket, "long.wav", wav(60))
    monkeypatch.setattr(type(bucket), "open", lambda *_, **__: Breaks(wav(60)))
    with pytest.raises(AudioError, match="unreadable: connection reset"):
        read(address)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["missing.wav", "empty.wav", "text.wav"])
def test_a_remote_file_that_is_no_audio_has_a_reason(name: str, bucket: fsspec.AbstractFileSystem) -> None:
    put(bucket, "empty.wav", b"")
    put(bucket, "text.wav", b"hello" * 99)
    with pytest.raises(AudioError) as found:
        read(Address(f"memory://b/{name}"))
    assert found.value.reason == {"m": "missing", "e": "empty_file", "t": "unrecognised_format"}[name[0]]


@pytest.mark.parametrize("address", ["nosuch://b/a.wav", "s3://b/a.wav"])
def test_a_missing_package_is_said_in_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=f"^{address}: ") as found:
        file_system(address)
    assert ("pip install 'audio-distill[remote]'" in str(found.value)) == address.startswith("s3")
    with pytest.raises(AudioError, match="unreadable"):
        open_address(address)


def test_without_fsspec_local_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"pip install 'audio-distill\[remote\]'"):
        remote.file_system("memory://b/a.wav")


def test_the_state_of_a_remote_file_changes_with_the_file(bucket: fsspec.AbstractFileSystem) -> None:
    address = put(bucket, "a.wav", b"sound")
    size, version = state_of(address)
    assert (size, state_of(address)) == (5, (5, version))
    assert version > 1
    put(bucket, "a.wav", b"other")
    assert state_of(address)[0] == 5
    assert state_of(address)[1] not in (0, 1, version)
    assert state_of("memory://b/missing.wav") == state_of("memory://b") == state_of("nosuch://b/a.wav") == (0, 0)


@pytest.mark.parametrize(
    ("facts", "is_known"),
    [
        ({"size": 3, "ETag": '"a1"'}, True),
        ({"size": 3, "etag": "a1", "LastModified": 7}, True),
        ({"size": 3, "mtime": 0.5}, True),
        ({"size": 3, "ETag": None}, False),
        ({"size": 3}, False),
    ],
)
def test_a_version_is_what_the_machine_tells(facts: dict[str, object], is_known: bool) -> None:
    assert (version_of(facts) > 1) is is_known
    assert version_of(facts) == version_of(dict(facts))
    assert not is_known or version_of(facts) != version_of({**facts, "ETag": "b2"})


def test_without_a_version_only_the_size_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("counting", Counting, clobber=True)
    monkeypatch.setattr(Counting, "content", b"sound")
    assert state_of("counting://b/a.wav") == (5, 1)


def test_a_member_of_a_remote_container_is_one_request(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = wav(1)
    address = put(bucket, "a.tar", bytes(3 << 20) + content + bytes(99))
    monkeypatch.setattr(type(bucket), "open", None)
    monkeypatch.setattr(type(bucket), "info", None)
    assert open_address(address, Member(3 << 20, len(content))).read() == content


@pytest.mark.parametrize(
    ("member", "sent", "error"),
    [
        (Member(10, 5), b"23456", None),
        (Member(10, 5), b"23", "truncated: the container holds 2 of 5 bytes"),
        (Member(10, 5), b"0123456789", "unreadable: the server sends whole files only"),
        (Member(10, 0), b"", "empty_file"),
        (Member(1 << 40, 5 << 20), b"x", "truncated: the container ends at byte 10"),
    ],
)
def test_a_member_has_its_own_bytes(
    member: Member, sent: bytes, error: str | None, bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = put(bucket, "a.tar", b"0123456789")
    if error is None or "of 5" in error or "server" in error:
        monkeypatch.setattr(type(bucket), "cat_file", lambda *_, **__: sent)
    if error is None:
        assert open_address(address, member).read() == sent
    else:
        with pytest.raises(AudioError, match=error):
            open_address(address, member)
