"""`distill fit --fold all`: a run for each fold, which is resumed, and the scores of each on its own fold."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.run.job import Job
from distill.run.resuming import Stopped
from tests.distill.commands.test_evaluate import CPU, table
from tests.distill.commands.test_fit import fit, same

CLASSIFY = {"teacher": None, "objective": "classification", "epochs": 1}


@pytest.fixture
def source(sounds: Callable[..., Path]) -> Path:
    """24 clips of four classes, in three folds."""
    return table(sounds(24, classes=4), lambda number, path: f"{path.parent.name},{number % 3 + 1}", "path,label,fold")


def test_each_clip_is_scored_by_the_run_that_held_it_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = fit(source, tmp_path / "all", fold="all", **CLASSIFY)
    printed = capsys.readouterr().out
    assert "fold 1, 1 of 3" in printed
    assert "all on clips.csv: the folds 1, 2, 3, each by the student that did not learn from it, 24 clips" in printed
    fit(source, tmp_path / "two", fold="2", **CLASSIFY)
    assert same(tmp_path / "two", tmp_path / "all" / "fold_2")
    folder = tmp_path / "all" / "evaluation" / "clips.csv"
    written = json.loads((folder / "result.json").read_text())
    hits: dict[str, list[bool]] = {}
    with open(source) as file:
        for row in csv.DictReader(file):
            student = distill.load(str(tmp_path / "all" / f"fold_{row['fold']}"))
            guess = student.labels[int(student.embed_file(source.parent / row["path"]).logits.argmax())]
            hits.setdefault(row["fold"], []).append(guess == row["label"])
    shares = [float(np.mean(hits[fold])) for fold in "123"]
    assert len({*shares, 1.0}) > 2
    assert written["clips"] == 24
    assert written["metrics"]["accuracy"] == pytest.approx(np.mean([hit for fold in hits.values() for hit in fold]))
    assert [fold["metrics"]["accuracy"] for fold in written["folds"]] == pytest.approx(shares)
    over = written["over_folds"]["accuracy"]
    assert (over["mean"], over["deviation"]) == (pytest.approx(np.mean(shares)), pytest.approx(np.std(shares, ddof=1)))
    with open(folder / "folds.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1", "2", "3", "mean", "standard deviation"]
    assert float(rows[3]["mAP"]) == pytest.approx(written["over_folds"]["mAP"]["mean"], abs=1e-4)
    for picture in ("confusion.png", "reliability.png"):
        assert (folder / picture).stat().st_size > 1000
    one = distill.evaluate(str(tmp_path / "all"), str(source), fold="2", **CPU)
    assert (one.clips, one.folds) == (8, ())
    assert one.metrics["accuracy"] == shares[1]


def test_a_stopped_run_trains_only_what_is_missing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(source, tmp_path / "whole", fold="all", **CLASSIFY)
    train = Job.train

    def stopping(self: Job, resume: bool) -> distill.Student:
        if self.options.fold == "2":
            raise Stopped(f"continue with: distill fit --resume true --out {self.run.path} --allow_import tests", 15)
        return train(self, resume)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "train", stopping)
        with pytest.raises(Stopped, match=r"--out [^ ]*/run --allow_import tests$") as stopped:
            fit(source, tmp_path / "run", fold="all", **CLASSIFY)
    assert stopped.value.exit_code == 128 + 15
    with pytest.raises(UserError, match="fold 2 has no trained student; continue with: distill fit --resume true"):
        distill.evaluate(str(tmp_path / "run"), str(source), **CPU)
    with pytest.raises(UserError, match="--resume continues it"):
        fit(source, tmp_path / "run", fold="all", **CLASSIFY)
    capsys.readouterr()
    main(["fit", "--resume", "--out", str(tmp_path / "run"), "--allow_import", "tests"])
    printed = capsys.readouterr().out
    assert printed.count("has ended already") == 1
    assert "24 clips, 4 classes" in printed
    assert all(same(tmp_path / "whole" / f"fold_{fold}", tmp_path / "run" / f"fold_{fold}") for fold in "123")
    with pytest.raises(UserError, match="--resume continues the same run, but seed was 0, is 1"):
        distill.fit(out=str(tmp_path / "run"), resume=True, seed=1)
    distill.fit(out=str(tmp_path / "run"), resume=True, epochs=2)
    assert not same(tmp_path / "whole" / "fold_1", tmp_path / "run" / "fold_1")


def test_a_student_object_starts_each_fold_with_its_own_weights(source: Path, tmp_path: Path) -> None:
    student = distill.create_student("tests.own_parts.TinyConvolution")
    fit(source, tmp_path / "all", fold="all", **CLASSIFY | {"student": student})
    fit(source, tmp_path / "three", fold="3", **CLASSIFY | {"student": student})
    assert same(tmp_path / "three", tmp_path / "all" / "fold_3")


def test_a_dry_run_is_that_of_the_first_fold(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(source, tmp_path / "all", fold="all", dry_run=True, **CLASSIFY)
    assert "3 folds; this is the run that holds out fold 1" in capsys.readouterr().out
    assert not (tmp_path / "all").exists()


def test_mistakes_are_one_line(
    sounds: Callable[..., Path], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--fold all: --objective embedding trains no classes"):
        fit(source, tmp_path / "run", fold="all")
    with pytest.raises(UserError, match="has no folds"):
        fit(sounds(4, name="plain"), tmp_path / "run", fold="all", **CLASSIFY)
    with monkeypatch.context() as patch:
        for name in ("RANK", "LOCAL_RANK"):
            patch.setenv(name, "0")
        for name, value in (("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
            patch.setenv(name, value)
        with pytest.raises(UserError, match="--fold all: torchrun starts the processes of one run; name one fold"):
            fit(source, tmp_path / "run", fold="all", **CLASSIFY)
    assert not (tmp_path / "run").exists()
    fit(source, tmp_path / "run", fold="all", **CLASSIFY)
    for call, message in (
        (
            lambda: distill.evaluate(str(tmp_path / "run"), str(source), fold="9", **CPU),
            "fold 9 has no trained student",
        ),
        (lambda: distill.load(str(tmp_path / "run")), "name one of its runs, such as .*fold_1"),
        (lambda: distill.evaluate(str(tmp_path / "run" / "fold_1"), str(source), fold="all", **CPU), "is not the fold"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    other = table(
        sounds(18, name="other"), lambda number, path: f"{path.parent.name},{number % 3 + 1}", "path,label,fold"
    )
    with pytest.raises(UserError, match=r"is not the data of .*run; score one student: --model .*fold_1"):
        distill.evaluate(str(tmp_path / "run"), str(other), **CPU)
