"""Tars of sounds, whole and broken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import tone


def sound(frequency: float = 440, seconds: float = 0.2, form: str = "FLAC") -> bytes:
    """Return the bytes of a sound."""
    file = io.BytesIO()
    soundfile.write(file, tone(frequency, seconds, seed=int(frequency)), 16_000, format=form)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes | str], form: int = tarfile.USTAR_FORMAT, mode: str = "w") -> Path:
    """Write a tar. A name with "#" stands for the name before it, so that names can repeat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.partition("#")[0])
            content = content.encode() if isinstance(content, str) else content
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(content: bytes) -> np.ndarray:
    """Return the samples of a sound."""
    return soundfile.read(io.BytesIO(content), dtype="int16")[0]
