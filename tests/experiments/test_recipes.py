"""The recipes of experiments/ build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import distill
from distill.students.saved import save_student
from tests.students.hear.tiny import HEAR_OPTIONS


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
    if config["student"]["class_path"] == "patch_transformer":  # too large for two cores; its options stay
        words["student"]["init_args"] |= {"hidden": 32, "layers": 1, "heads": 2, "channels": [8, 8]}
    if config["objective"]["class_path"] == "masked_prediction":
        save_student(
            distill.create_student("hear_tokenizer", **HEAR_OPTIONS, codes=8), tmp_path / "tok" / "student", "card"
        )
        words["objective"]["init_args"]["tokenizer"] = str(tmp_path / "tok")
    if config["objective"]["class_path"] == "tokenizer" or "teacher" in config:
        words["teacher"] = "spectral"
    distill.fit(**words, dry_run=True)
