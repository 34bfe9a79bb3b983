"""Lightning's trainer with the settings of a run, and atomic checkpoints."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import pytest
import torch

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.module import AudioData
from distill.data.files import file_digest
from distill.data.sampling.orders import UniformOrder
from distill.training.engine import Engine
from distill.training.trainer import AtomicCheckpoints, quiet, trainer
from distill.training.world import World
from tests.teachers.tiny import RunsCode


def test_a_checkpoint_is_written_with_its_digest_and_without_a_rest(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step_1.ckpt"
    AtomicCheckpoints().save_checkpoint({"weight": torch.ones(2), "step": 1}, path)
    assert (tmp_path / "checkpoints" / "step_1.sha256").read_text().strip() == file_digest(path)
    assert {file.name for file in path.parent.iterdir()} == {"step_1.ckpt", "step_1.sha256"}
    loaded = AtomicCheckpoints().load_checkpoint(path)
    assert loaded["step"] == 1
    assert loaded["weight"].equal(torch.ones(2))


def test_a_failed_save_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "step_1.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        AtomicCheckpoints().save_checkpoint({"step": lambda: None}, path)
    assert AtomicCheckpoints().load_checkpoint(path) == {"step": 1}


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": RunsCode()}, "code.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpoints().load_checkpoint(tmp_path / "code.ckpt")
    assert not Path("RAN").exists()


@pytest.mark.parametrize("clips", [0, 3])
def test_all_epochs_are_one_pass_with_a_validation_after_each_epoch(clips: int, tmp_path: Path) -> None:
    rows = tuple(Row(f"{number}", Path(f"{number}.wav")) for number in range(8))
    train, validation = (ClipDataset(Manifest(tmp_path, rows[:count]), 16_000, Crop()) for count in (8, clips))
    data = AudioData(train, validation, UniformOrder(8), batch_size=2, batches=20)
    with quiet():
        made = trainer(Engine(accelerator="cpu"), data, [], tmp_path)
    assert (made.max_epochs, made.val_check_interval) == (1, 4)
    assert made.limit_val_batches == (1.0 if clips else 0)
    assert not list(tmp_path.iterdir())


def test_intended_warnings_are_silent_and_others_are_not() -> None:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with quiet():
        assert logger.level == logging.ERROR
        warnings.warn("The dataloader does not have many workers", stacklevel=1)
        with pytest.warns(UserWarning, match="another"):
            warnings.warn("another", stacklevel=1)
    assert logger.level == level


def test_processes_that_exist_already_train_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.accelerator_connector._IS_INTERACTIVE", True)
    rows = tuple(Row(f"{number}", Path(f"{number}.wav")) for number in range(8))
    train, validation = (ClipDataset(Manifest(tmp_path, rows[:count]), 16_000, Crop()) for count in (8, 0))
    data = AudioData(train, validation, UniformOrder(8), batch_size=2, batches=20)
    made = trainer(Engine(accelerator="cpu", devices=2), data, [], tmp_path, World(0, 2))
    assert made.num_devices == 2
