"""A student folder: written whole, loaded without running code."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import save

from distill.data.encoders.checkpoint import read_state_dict
from distill.data.errors import UserError
from distill.data.files import file_digest, write_atomically, write_json, write_text
from distill.students import STUDENTS
from distill.students.student import Student


def save_student(student: Student, folder: Path, card: str) -> None:
    """Write model.safetensors, config.json and README.md; `load_student` reads them.

    Raises:
        UserError: a weight is not finite, or an option of the student cannot be written as JSON.
    """
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in student.state_dict().items()}
    if bad := [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise UserError(f"the student's {bad[0]!r} is not finite; it is not saved")
    options = {
        name: value for name, value in STUDENTS.spec_of(student).options.items() if name not in student.begins_from
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.safetensors", lambda file: file.write(save(state)))
    write_json(
        folder / "config.json",
        {
            "student": STUDENTS.name_of(type(student)),
            "options": options,
            "sample_rate": student.sample_rate,
            "clip_dim": student.clip_dim,
            "frame_dim": student.frame_dim,
            "frame_hop": student.frame_hop,
            "parameters": student.parameter_count(),
            "labels": list(student.labels),
            "licence": student.licence,
            "teachers": dict(student.teachers),
            "sha256": file_digest(folder / "model.safetensors"),
            "audio_distill": version("audio-distill"),
        },
    )
    write_text(folder / "README.md", card)


def load_student(source: str | Path, allow_import: str | None = None) -> Student:
    """A trained student in evaluation mode, from a run folder, a student folder, or a hub id.

    Args:
        source: Where it is.
        allow_import: Package of a student that is not registered and may be imported, since a file that names a
            class is a program. A class that is imported already needs no permission.

    Raises:
        UserError: nothing there, damaged weights, or a student that is not known.
    """
    folder = _student_folder(source)
    try:
        config = json.loads((folder / "config.json").read_text())
        name, options, digest = config["student"], config["options"], config["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is no student's configuration ({error})") from error
    allowed = allow_import is not None and (name + ".").startswith(allow_import + ".")
    if not allowed and not STUDENTS.is_trusted(name):
        raise UserError(
            f"{source} was trained with the student {name!r}, which is not imported; "
            f"if you trust it: --allow_import {name.partition('.')[0]} (in Python: import it first)"
        )
    weights = folder / "model.safetensors"
    state = read_state_dict(weights, option="the student's weights")
    if file_digest(weights) != digest:
        raise UserError(f"{weights} is damaged: its sha256 is not the one it was saved with")
    student = STUDENTS.create(name, **options)
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{folder}: the weights do not fit the student {name!r} ({str(error).splitlines()[1].strip()})"
        ) from error
    student.labels, student.licence = tuple(config.get("labels", ())), config.get("licence", student.licence)
    student.teachers = dict(config.get("teachers", {}))
    return student.eval()


def _student_folder(source: str | Path) -> Path:
    path = Path(source)
    for folder in (path / "student", path):
        if (folder / "config.json").is_file():
            return folder
    if path.is_dir():
        raise UserError(f"{path} holds no trained student (no student/config.json); has its `distill fit` ended?")
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise UserError(f"{source}: no such run or student folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=["config.json", "model.safetensors", "README.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{source}: no such folder, and no such student on the hub") from error
