"""Loggers: the rows of metrics.csv at the same steps. TensorBoard and W&B have stand-ins."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.data.errors import UserError
from distill.run.resuming import Stopped
from distill.training import loggers
from distill.training.loggers import Loggers, check_loggers
from tests.distill.commands.test_fit import fit


class Recorder:
    """Stands for a logger of Lightning."""

    def __init__(self, folder: Path, batch: int) -> None:
        self.began, self.rows, self.ended = batch, list[tuple[int, dict[str, float]]](), list[str]()
        self.folder, self.experiment = folder, self

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        assert not self.ended
        self.rows.append((step, values))

    def finalize(self, status: str) -> None:
        self.ended.append(status)

    def finish(self, exit_code: int) -> None:
        self.ended.append(f"exit code {exit_code}")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Recorder]]:
    found: dict[str, list[Recorder]] = {"tensorboard": [], "wandb": []}

    def opener(name: str) -> Callable[[Path, int], Recorder]:
        def open_recorder(folder: Path, batch: int) -> Recorder:
            found[name].append(Recorder(folder, batch))
            return found[name][-1]

        return open_recorder

    monkeypatch.setattr(loggers, "_OPENERS", {name: opener(name) for name in found})
    monkeypatch.setattr(loggers, "find_spec", lambda name: object())
    return found


def rows_of(run: Path) -> list[tuple[int, dict[str, float]]]:
    with open(run / "metrics.csv", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [(int(row.pop("batch")), row) for row in rows]


def test_every_logger_gets_the_rows_of_metrics_csv(
    sounds: Callable[..., Path], tmp_path: Path, opened: dict[str, list[Recorder]]
) -> None:
    engine = {"accelerator": "cpu", "workers": 0, "logger": "tensorboard, wandb"}
    fit(sounds(10, seconds=0.1), tmp_path / "run", epochs=2, engine=engine)
    (first,), (second,) = opened.values()
    assert first.rows == rows_of(tmp_path / "run")
    assert {"loss", "learning_rate", "validation_loss"} <= {name for _, row in first.rows for name in row}
    assert second.rows == first.rows
    assert first.began == 0
    assert first.folder == tmp_path / "run"
    assert first.ended == second.ended == ["success", "exit code 0"]
    assert "logger: tensorboard, wandb" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_resumed_run_continues_where_its_checkpoint_is(
    sounds: Callable[..., Path], tmp_path: Path, opened: dict[str, list[Recorder]]
) -> None:
    data, engine = sounds(10, seconds=0.1), {"accelerator": "cpu", "workers": 0, "logger": "tensorboard"}

    def stop(recorder: Recorder, values: dict[str, float], step: int, log: Any = Recorder.log_metrics) -> None:
        log(recorder, values, step)
        if "validation_loss" in values:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "log_metrics", stop)
        with pytest.raises(Stopped):
            fit(data, tmp_path / "run", epochs=3, engine=engine)
    distill.fit(out=str(tmp_path / "run"), resume=True)
    before, after = opened["tensorboard"]
    assert before.ended
    assert 0 < after.began < after.rows[-1][0]
    assert all(step > after.began for step, _ in after.rows)
    assert [row for row in before.rows if row[0] <= after.began] + after.rows == rows_of(tmp_path / "run")


def test_loggers_are_closed_after_an_error(
    sounds: Callable[..., Path], tmp_path: Path, opened: dict[str, list[Recorder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(recorder: Recorder, values: dict[str, float], step: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Recorder, "log_metrics", fail)
    engine = {"accelerator": "cpu", "workers": 0, "logger": "wandb"}
    with pytest.raises(OSError, match="no space"):
        fit(sounds(10, seconds=0.1), tmp_path / "run", epochs=1, engine=engine)
    assert opened["wandb"][0].ended == ["failed", "exit code 1"]


def test_unknown_loggers_and_missing_packages_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"--engine.logger 'mlflow': must be one of tensorboard, wandb"):
        check_loggers("mlflow,tensorboard")
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(UserError, match=f"--engine.logger {name} requires one more package: pip install {name}"):
            fit(tmp_path / "missing", tmp_path / "run", engine={"logger": name})
    check_loggers("")
    Loggers("", tmp_path, 0).close()


def test_the_run_of_wandb_that_was_logged_last_is_continued(tmp_path: Path) -> None:
    assert loggers._wandb_id(tmp_path) is None
    for name in ("offline-run-20260102_000000-new-id", "run-20260101_235959-old", "latest-run", "debug.log"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert loggers._wandb_id(tmp_path) == "new-id"
