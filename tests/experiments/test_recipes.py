"""The recipes of experiments/ build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import distill
from distill.students.saved import save_student
from tests.distill.commands.test_fit_devices import PYTHON, ended, read, started
from tests.students.hear.tiny import HEAR_OPTIONS

TINY = {"hidden": 32, "layers": 1, "heads": 2, "channels": [8, 8]}
"""A patch_transformer that two cores can train. The other options of a recipe stay."""


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "experiments").glob("*/*.yaml")), ids=str)
def test_every_recipe_builds(recipe: Path, sounds: Callable[..., Path], tmp_path: Path) -> None:
    """With the objective's tokenizer, the data and the teacher that a recipe leaves to the user."""
    config = yaml.safe_load(recipe.read_text())
    data = str(sounds(4, seconds=0.5))
    if "sampling" in config:
        config["sampling"]["clusters"] = 2  # of four clips
    words: dict[str, Any] = {**config, "data": data, "out": str(tmp_path / "run"), "task": "auto", "epochs": 1}
    words["engine"] = {"workers": 0, "accelerator": "cpu"}
    words["batch_size"] = 2
    if config["student"]["class_path"] == "patch_transformer":
        words["student"]["init_args"] |= TINY
    if config["objective"]["class_path"] == "masked_prediction":
        save_student(
            distill.create_student("hear_tokenizer", **HEAR_OPTIONS, codes=8), tmp_path / "tok" / "student", "card"
        )
        words["objective"]["init_args"]["tokenizer"] = str(tmp_path / "tok")
    if config["objective"]["class_path"] == "tokenizer" or "teacher" in config:
        words["teacher"] = "spectral"
    distill.fit(**words, dry_run=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eat/pretrain_base", "eat/pretrain_large", "cat/pretrain", "matpac/pretrain"])
def test_a_recipe_for_several_devices_trains_on_its_devices(
    name: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    """Three steps at a tiny size, on CPUs, which have no float16."""
    config = yaml.safe_load((Path(__file__).parents[2] / "experiments" / f"{name}.yaml").read_text())
    devices = config["engine"]["devices"]
    config["student"]["init_args"] |= TINY
    config |= {"batch_size": 2 * devices, "epochs": 3, "task": "auto"}
    config["engine"] |= {"accelerator": "cpu", "precision": "32-true", "workers": 0}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    words = ["-m", "distill", "fit", "--config", str(tmp_path / "recipe.yaml"), f"--data={sounds(2 * devices)}"]
    words += [f"--out={tmp_path / 'run'}", *(["--teacher=spectral", "--live"] if "cat" in name else [])]
    printed = ended(started([*PYTHON, *words]))
    assert f"batch {2 * devices} = {devices} x 2 (devices x clips)" in printed
    assert [row["batch"] for row in read(tmp_path / "run" / "metrics.csv")] == ["3"]
