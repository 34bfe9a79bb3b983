"""A student in the format of its published code: its weights by the official keys."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from distill.data.errors import UserError
from distill.students import STUDENTS
from distill.students.student import Student

_SUFFIXES = (".pt", ".pth")
_MAX_DIFFERENCE = 1e-5  # relative to the largest number; the same weights give the same numbers but for rounding


def write_official(student: Student, path: Path) -> str:
    """Write the weights of a student by the keys of its published code, as a state dict of PyTorch.

    Before the file gets its name, a student that starts from it is compared with this one.

    Args:
        student: Student to write, on the CPU. It is set to evaluation mode.
        path: File to write; its name ends in .pt or .pth.

    Returns:
        What was written, as one line.

    Raises:
        UserError: no published code has this network with these options, or the file has another suffix.
    """
    if path.suffix not in _SUFFIXES:
        raise UserError(f"--out {path}: must end in {' or '.join(_SUFFIXES)}")
    state = {key: tensor.detach().clone() for key, tensor in student.eval().official_state().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
        written = Path(folder) / path.name
        torch.save(state, written)
        difference = _difference(student, written)
        if not difference <= _MAX_DIFFERENCE:
            raise UserError(f"{path}: a student from the file differs by {difference:.1e}; it was not written")
        size = written.stat().st_size
        os.replace(written, path)
    head = "; its head is left out, which the published code has not" if _has_own_head(student) else ""
    return (
        f"{path}: {size / 2**20:.1f} MiB, {len(state)} tensors by the official keys, such as {next(iter(state))!r}; "
        f"a student from it differs by {difference:.1e}{head}; licence of what it learned from: {student.licence}"
    )


def _difference(student: Student, path: Path) -> float:
    """Return the largest difference of the clip embeddings of a student from the file, relative to the largest one."""
    spec = STUDENTS.spec_of(student)
    options = {name: value for name, value in spec.options.items() if name not in student.initial_weights}
    again = STUDENTS.create(spec.name, **options, checkpoint=str(path)).eval()
    noise = 0.1 * torch.randn(2, 2 * student.sample_rate, generator=torch.Generator().manual_seed(0))
    clip, expected = (one.embed(noise, student.sample_rate).clip for one in (again, student))
    return float((clip - expected).abs().max() / expected.abs().max())


def _has_own_head(student: Student) -> bool:
    """Return whether the student has a head that is no part of its network."""
    return student.classifier is not None and student.classifier.head is not None
