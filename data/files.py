"""Atomic writes, locks of folders, digests of files, and plain values for YAML and JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from distill.data.errors import UserError

T = TypeVar("T")
LOCK, HOLDER = ".lock", ".holder"  # files that `lock` makes in a folder and keeps


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file and rename it to `path`. After a kill at any time, the file is the old or the new one.

    The temporary file lies in the same folder, since a rename across file systems is a copy.

    Args:
        path: The file.
        write: Writes the content to an open file.

    Raises:
        OSError: the disk is full or read-only. The temporary file is removed and `path` is unchanged.
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
    """Write a text in UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented, atomically. Names of files that are not UTF-8 are escaped and read back equal."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text if _is_unicode(text) else json.dumps(value, indent=2) + "\n")


def finite(value: object) -> object:
    """Return a value for JSON: None stands for each number that is not finite, as JSON has none."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return finite(value._asdict())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8. Python reads a byte that is not UTF-8 as a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_temporaries(folder: Path) -> None:
    """Delete the temporary files of a killed writer. Only the holder of the folder's lock may call this."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(folder: Path, task: str, seconds: float = 0.0) -> Iterator[None]:
    """Lock a folder for one writer. The kernel frees the lock when the process ends, also after a kill.

    Args:
        folder: Created if it does not exist.
        task: Name of the command, for the message that other processes print.
        seconds: Time to wait for another process.

    Raises:
        UserError: another process holds the lock. The message names its host and process.
    """
    from filelock import FileLock, Timeout  # here, since an exported student runs without it

    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER  # a separate file, since some systems do not let others read a locked file
    held = FileLock(folder / LOCK, timeout=seconds)
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
    """Write a rename to the disk, so that it survives a power cut. Windows does not support this."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(value: Any) -> Any:
    """Return `value` as a JSON value: settings become mappings, and paths become text.

    Raises:
        TypeError: the value is or contains an object that has no JSON form.
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
    """Return settings of class `kind` from a mapping, as in config.yaml, or unchanged. None means all defaults.

    Raises:
        UserError: an option is unknown or its value is invalid.
    """
    if isinstance(value, kind):
        return value
    try:
        return kind(**(value or {}))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind.__name__.lower()}: {error}") from error
