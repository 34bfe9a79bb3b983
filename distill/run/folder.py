"""The run folder: its files, its configuration and its checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.data.errors import UserError
from distill.data.files import HOLDER, LOCK, file_digest, plain, write_text

_FILES = ("config.yaml", "metrics.csv", "set_aside.csv")
_FOLDERS = ("checkpoints", "student", "students", "report", "embeddings", "clusters", "tensorboard", "wandb")
_PATHS = ("data", "root", "out", "store", "init_from", "checkpoint")  # options that name files or folders


class Run:
    """A run folder: config.yaml, metrics.csv, checkpoints/, student/, report/.

    Args:
        path: Path of the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.student = self.path / "student"
        self.report = self.path / "report"
        self.metrics = self.path / "metrics.csv"

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `fit`, from config.yaml. Raises UserError if the file does not exist."""
        try:
            return yaml.safe_load((self.path / "config.yaml").read_text())
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml") from None

    def kept_students(self) -> list[Path]:
        """Return the folders of the students that were kept in the middle of the run, in the order of their steps."""
        return sorted((self.path / "students").glob("step_*"), key=step_of)

    def check_free(self, overwrite: bool) -> None:
        """Raise UserError if the folder cannot take a new run.

        Args:
            overwrite: Whether a run that is there may be deleted.
        """
        if self.path.is_file():
            raise UserError(f"--out {self.path} is a file")
        content = {entry.name for entry in self.path.iterdir()} - {LOCK, HOLDER} if self.path.is_dir() else set()
        if not content:
            return
        if not (self.path / "config.yaml").exists():
            raise UserError(f"--out {self.path} holds other files; choose another folder")
        if not overwrite:
            raise UserError(
                f"--out {self.path} holds a run: --resume continues it, --overwrite replaces it, "
                f"--init_from {self.path} starts a new one from its weights"
            )

    def clear(self) -> None:
        """Delete the files that a run writes, and no others."""
        for name in (*_FILES, *_FOLDERS):
            entry = self.path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the arguments of `fit` to config.yaml, from which `distill fit --config` repeats the run.

        Paths become absolute, so that another working folder can resume or repeat the run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = yaml.safe_dump(plain(with_full_paths(config)), sort_keys=False, allow_unicode=True)
        write_text(self.path / "config.yaml", content)

    def newest_checkpoint(self) -> tuple[Path | None, list[Path]]:
        """Return the newest checkpoint with a correct SHA-256, or None, and the newer ones that are damaged."""
        damaged: list[Path] = []
        for checkpoint in sorted(self.checkpoints.glob("step_*.ckpt"), reverse=True):
            sidecar = checkpoint.with_suffix(".sha256")
            if sidecar.is_file() and sidecar.read_text().strip() == file_digest(checkpoint):
                return checkpoint, damaged
            damaged.append(checkpoint)
        return None, damaged


def with_full_paths(config: Any) -> Any:
    """Return a configuration in which the paths of files and folders that exist are absolute. Hub ids stay."""
    if isinstance(config, Mapping):
        return {name: _full_path(value) if name in _PATHS else with_full_paths(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [with_full_paths(value) for value in config]
    return config


def _full_path(value: Any) -> Any:
    path = os.path.expanduser(value) if isinstance(value, str) and value else ""
    return os.path.abspath(path) if path and os.path.exists(path) else value


def step_of(path: Path) -> int:
    """Return the step of a checkpoint or of a kept student, from its name."""
    return int(path.stem.removeprefix("step_"))
