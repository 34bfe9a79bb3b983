"""Configuration files are data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.cli.configs import read_config
from tests.distill.cli.test_shell import failure


def test_a_config_cannot_import_what_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "c.yaml").write_text("teacher: evil.Teacher\n")
    code, line = failure(capsys, "fit", "--config", tmp_path / "c.yaml")
    assert code == 2
    assert "--allow_import evil" in line


def test_a_yaml_bomb_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 20))
    (tmp_path / "c.yaml").write_text(f"l0: &l0 x\n{levels}\n")
    assert "aliases" in failure(capsys, "fit", "--config", tmp_path / "c.yaml")[1]


def test_a_config_may_name_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    content = "data: ~/sounds\nlabel: ~x\nteacher: {class_path: ast, init_args: {checkpoint: ~/ast}}\nkeep_steps: [1]\n"
    (tmp_path / "c.yaml").write_text(content)
    config = json.loads(read_config(str(tmp_path / "c.yaml"), ()))
    assert (config["data"], config["label"]) == (str(tmp_path / "sounds"), "~x")
    assert config["teacher"]["init_args"]["checkpoint"] == str(tmp_path / "ast")
