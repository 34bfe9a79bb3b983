"""Copies of the rows of metrics.csv for TensorBoard and Weights & Biases, through Lightning's loggers."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from distill.data.errors import UserError, first_line, require_one_of

if TYPE_CHECKING:  # lightning is slow to import, and the options of a run are checked without it
    from lightning.pytorch.loggers import Logger

_OPTION = "--engine.logger"
_WANDB_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")  # the name of a folder that W&B writes


class Loggers:
    """The open loggers of a run.

    Args:
        names: "tensorboard", "wandb", both with a comma between them, or empty.
        folder: Folder of the run. TensorBoard's files are in `tensorboard`, those of W&B in `wandb`.
        batch: Batch at which the run starts or resumes. A resumed run continues its logs.

    Raises:
        UserError: a name is unknown, its package is missing, or W&B refuses the run.
    """

    def __init__(self, names: str, folder: Path, batch: int) -> None:
        check_loggers(names)
        self._loggers = [_OPENERS[name](folder, batch) for name in _split(names)]

    def write(self, batch: int, values: Mapping[str, str]) -> None:
        """Log the values of a row of metrics.csv, by column, at its batch."""
        for logger in self._loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, batch)

    def close(self) -> None:
        """Write what is not written yet, and end the logs, while an error is handled as those of a failed run.

        Another run of this process starts its own.
        """
        failed = sys.exc_info()[0] is not None
        for logger in self._loggers:
            logger.finalize("failed" if failed else "success")
            # Without this, the next run of this process would continue the same run of W&B.
            if finish := getattr(getattr(logger, "experiment", None), "finish", None):
                finish(exit_code=int(failed))
        self._loggers = []


def check_loggers(names: str) -> None:
    """Raise UserError if a name of `--engine.logger` is unknown, or if its package is not installed."""
    for name in _split(names):
        require_one_of(_OPTION, name, _OPENERS)
        if find_spec(name) is None:
            raise UserError(f"{_OPTION} {name} requires one more package: pip install {name}")


def _split(names: str) -> list[str]:
    """Return the names of loggers in a text, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def _open_tensorboard(folder: Path, batch: int) -> Logger:
    """Return a logger that writes to `tensorboard` in the run. Values after the batch of a resumed run are purged."""
    from lightning.pytorch.loggers import TensorBoardLogger

    purge_step = batch + 1 if batch else None
    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False, purge_step=purge_step)


def _open_wandb(folder: Path, batch: int) -> Logger:
    """Return a logger that writes to a run of W&B, which a resumed run continues. Its files are in `wandb`.

    W&B's own variables choose account, project and mode, such as WANDB_MODE=offline.
    """
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(
        name=folder.resolve().name,
        save_dir=folder,
        project=os.environ.get("WANDB_PROJECT", "audio-distill"),
        id=_wandb_id(folder),
    )
    try:
        _ = logger.experiment  # starts the run, so that its errors come before the first step
    except Exception as error:  # the classes of its errors differ between versions of W&B
        raise UserError(
            f"{_OPTION} wandb: {first_line(error).rstrip('.')}; WANDB_MODE=offline logs without account and network"
        ) from error
    return logger


def _wandb_id(folder: Path) -> str | None:
    """Return the id of the run of W&B that was logged last in a run folder. None: there is none."""
    found = [match for path in (folder / "wandb").glob("*") if (match := _WANDB_RUN.fullmatch(path.name))]
    return max(found, key=lambda match: match[0].removeprefix("offline-"))[1] if found else None


_OPENERS: dict[str, Callable[[Path, int], Logger]] = {"tensorboard": _open_tensorboard, "wandb": _open_wandb}
