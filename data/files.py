"""Files that are whole or absent, locks that die with their holder, and digests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from filelock import FileLock, Timeout

from distill.data.errors import UserError

T = TypeVar("T")
LOCK, HOLDER = ".lock", ".holder"  # files of a folder that `lock` holds; they stay


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside `path` and rename it, so that a kill at any moment leaves the old file or the new one.

    The temporary file lies in the same folder, because a rename across file systems is a copy.

    Raises:
        OSError: the disk is full, or not to be written; the temporary file is gone and `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for a text in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """`write_atomically` for a JSON value, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed writer left behind. Only the holder of the folder's lock may call this."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(folder: Path, task: str) -> Iterator[None]:
    """Hold a folder for one writer. The kernel frees the lock when the process ends, however it ends.

    Raises:
        UserError: another process holds it; the message names the host and process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER  # a file of its own: not every system lets others read a locked file
    held = FileLock(folder / LOCK, timeout=0)
    try:
        held.acquire()
    except Timeout:
        name = holder.read_text(errors="replace").strip() if holder.is_file() else ""
        raise UserError(
            f"{folder} is being written by {name or 'another process'}; wait for it, or choose another folder"
        ) from None
    try:
        holder.write_text(f"{task} (process {os.getpid()} on {socket.gethostname()})")
        yield
    finally:
        held.release()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open a folder for that."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(value: Any) -> Any:
    """Return the JSON value that stands for `value`: settings become mappings, and paths text.

    Raises:
        TypeError: it is, or holds, an object that no file can hold.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} is not a plain value")


def as_settings(kind: type[T], value: T | Mapping[str, Any] | None) -> T:
    """Return a settings object from itself, or from the mapping that config.yaml holds. Raises UserError."""
    if isinstance(value, kind):
        return value
    try:
        return kind(**(value or {}))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind.__name__.lower()}: {error}") from error
