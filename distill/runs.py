"""The run folder, and the student in it: written whole, loaded without running code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save

from distill.data.checkpoint import read_state_dict
from distill.data.errors import UserError
from distill.data.files import HOLDER, LOCK, file_digest, plain, write_atomically, write_json, write_text
from distill.students import STUDENTS
from distill.students.student import Student

_OURS = ("config.yaml", "metrics.csv", "set_aside.csv", "checkpoints", "student", "report", "embeddings", "clusters")


class Run:
    """A run folder: config.yaml, metrics.csv, checkpoints/, student/, report/.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.student = self.path / "student"
        self.report = self.path / "report"
        self.metrics = self.path / "metrics.csv"

    @property
    def config(self) -> dict[str, Any]:
        """What `fit` was called with. Raises UserError where there is no run."""
        try:
            return yaml.safe_load((self.path / "config.yaml").read_text())
        except FileNotFoundError:
            raise UserError(f"{self.path} is no run: it has no config.yaml") from None

    def check_free(self, overwrite: bool) -> None:
        """Raise UserError where a new run would mix with what is there."""
        if self.path.is_file():
            raise UserError(f"--out {self.path} is a file")
        content = {entry.name for entry in self.path.iterdir()} - {LOCK, HOLDER} if self.path.is_dir() else set()
        if not content:
            return
        if not (self.path / "config.yaml").exists():
            raise UserError(f"--out {self.path} holds other files; choose another folder")
        if not overwrite:
            raise UserError(
                f"--out {self.path} holds a run: --resume goes on with it, --overwrite begins again, "
                f"--init_from {self.path} begins a new one from its weights"
            )

    def clear(self) -> None:
        """Delete what a run writes, and nothing else."""
        for name in _OURS:
            entry = self.path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Save the arguments of `fit`; `distill fit --config` runs them again."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))

    def newest_checkpoint(self) -> tuple[Path | None, list[Path]]:
        """The newest checkpoint whose sha256 is right, and the newer ones that are damaged."""
        damaged: list[Path] = []
        for checkpoint in sorted(self.checkpoints.glob("step_*.ckpt"), reverse=True):
            sidecar = checkpoint.with_suffix(".sha256")
            if sidecar.is_file() and sidecar.read_text().strip() == file_digest(checkpoint):
                return checkpoint, damaged
            damaged.append(checkpoint)
        return None, damaged


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
    try:
        json.dumps(options)
    except TypeError as error:
        raise UserError(f"{type(student).__name__}'s options must be plain values to be saved: {error}") from error
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
