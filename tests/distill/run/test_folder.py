"""The run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import distill
from distill.data.errors import UserError
from distill.run.folder import Run, with_full_paths
from tests.distill.commands.test_fit import fit, weights


def test_a_folder_in_use_is_not_written_into(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    fit(data, tmp_path / "run", epochs=1)
    before = weights(tmp_path / "run")
    with pytest.raises(UserError, match=r"--resume.*--overwrite.*--init_from"):
        fit(data, tmp_path / "run")
    fit(data, tmp_path / "run", overwrite=True, epochs=1, seed=5)
    assert not before["convolution.weight"].equal(weights(tmp_path / "run")["convolution.weight"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(UserError, match="other files"):
        fit(data, tmp_path / "other", overwrite=True)


def test_paths_that_exist_are_absolute_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("sounds", "cosine", "model.pt"):
        (tmp_path / name).touch()
    teachers = [{"init_args": {"checkpoint": path}} for path in ("model.pt", "~/model.pt", "org/model")]
    config = {"data": "sounds", "root": "", "store": "absent", "objective": {"loss": "cosine"}, "teacher": teachers}
    full = with_full_paths(config)
    assert full["data"] == str(tmp_path / "sounds")
    assert (full["root"], full["store"], full["objective"]) == ("", "absent", {"loss": "cosine"})
    model = str(tmp_path / "model.pt")
    assert [teacher["init_args"]["checkpoint"] for teacher in full["teacher"]] == [model, model, "org/model"]
    assert with_full_paths(full) == full


def test_another_working_folder_resumes_a_run(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sounds(8)
    monkeypatch.chdir(data.parent)
    fit(Path(data.name), tmp_path / "run", epochs=1)
    assert Run(tmp_path / "run").config["data"] == str(data)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    distill.fit(out=str(tmp_path / "run"), resume=True, epochs=2)
    assert Run(tmp_path / "run").config["epochs"] == 2
