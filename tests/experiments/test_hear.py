"""HEAR's three stages from the command line, with tiny networks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import distill
from distill.cli.shell import main
from tests.conftest import GOLDEN
from tests.distill.command_line import ON_CPU, words_of
from tests.students.hear.tiny import HEAR_OPTIONS


def test_the_three_stages_from_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(12, classes=3, seconds=1.0))
    tokenizer = ["--objective", "tokenizer", *words_of("objective", {**HEAR_OPTIONS, "code_dim": 4})]
    student = ["--student", "hear_tokenizer", *words_of("student", {**HEAR_OPTIONS, "codes": 32})]
    beats = ["--teacher+=beats", f"--teacher.checkpoint={GOLDEN / 'beats' / 'beats_tiny_finetuned.pt'}"]
    ssast = [
        "--teacher+=ssast",
        f"--teacher.checkpoint={GOLDEN / 'ssast' / 'ssast_tiny_frame.pth'}",
        "--teacher.heads=4",
    ]
    main(
        ["fit", *beats, *ssast, *student, *tokenizer, *ON_CPU, "--live", "--data", data, "--out", str(tmp_path / "tok")]
    )
    with open(tmp_path / "tok" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["loss"]][-1]
    parts = 0.3 * float(last["reconstruction"]) + 0.35 * (float(last["beats"]) + float(last["ssast"]))
    assert float(last["loss"]) == pytest.approx(parts + 0.1 * float(last["diversity"]), rel=1e-3)
    assert float(last["perplexity"]) >= 1
    pictures = tmp_path / "tok" / "report"
    assert {path.name for path in pictures.iterdir()} == {
        "losses.png",
        "observed.png",
        "codes.png",
        "reconstruction.png",
        "quality.png",
        "quality.json",
    }
    (pictures / "codes.png").unlink()
    main(["report", "--run", str(tmp_path / "tok")])
    assert (pictures / "codes.png").stat().st_size > 0
    student = ["--student", "hear", *words_of("student", HEAR_OPTIONS)]
    mam = ["--objective", "masked_prediction", f"--objective.tokenizer={tmp_path / 'tok'}"]
    main(["fit", *student, *mam, *ON_CPU, "--data", data, "--out", str(tmp_path / "mam")])
    classifier = ["--student", "hear_classifier", f"--student.acoustic={tmp_path / 'mam'}", "--student.task_hidden=16"]
    words = ["--objective", "classification", *ON_CPU, "--validation=0.4", "--data", data]
    main(["fit", *classifier, *words, "--out", str(tmp_path / "classifier")])
    printed = capsys.readouterr().out
    assert "validation accuracy" in printed
    loaded = distill.load(str(tmp_path / "classifier"))
    assert loaded.labels == ("class0", "class1", "class2")
    assert distill.create_teacher("frozen", student=str(tmp_path / "classifier")).labels == loaded.labels
    assert loaded.embed(torch.randn(16_000), 16_000).logits.shape == (1, 3)
    for stage in ("tok", "mam", "classifier"):  # those of BEATs and SSAST, the teachers of the first stage
        assert distill.load(str(tmp_path / stage)).licence == "MIT; BSD-3-Clause"
    card = (tmp_path / "classifier" / "student" / "README.md").read_text()
    assert "that of the weights it learned from: MIT; BSD-3-Clause" in " ".join(card.split())
    assert "| objective | classification" in card
    assert "of 3 classes, in the order of `student.labels`" in card
