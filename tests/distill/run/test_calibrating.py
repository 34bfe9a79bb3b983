"""Calibration of trained students, and heads of probes that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distill
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.evaluation.calibration import fit_temperature
from distill.run.calibrating import calibrate_student
from distill.students.decisions import ONE_OF
from distill.students.heads import Classifier, Head
from tests.distill.commands.test_evaluate import CPU, table
from tests.distill.commands.test_fit import fit
from tests.own_parts import TinyConvolution


def logits_of(student: distill.Student, paths: list[Path]) -> torch.Tensor:
    return torch.cat([student.embed_file(path).logits for path in paths])


def test_a_run_ends_with_the_calibration_on_its_held_out_clips(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = sounds(20), tmp_path / "run"
    source = table(data, lambda number, path: f"{path.parent.name},{'val' if number % 5 < 2 else 'train'}")
    fit(source, run, teacher=None, objective="classification", epochs=2)
    assert "calibrated on 8 held-out clips" in capsys.readouterr().out
    student = distill.load(str(run))
    classifier = student.classifier
    assert classifier is not None
    held_out = [path for number, path in enumerate(sorted(data.rglob("*.wav"))) if number % 5 < 2]
    truth = np.array([[path.parent.name == name for name in student.labels] for path in held_out], float)
    raw = (logits_of(student, held_out) * classifier.temperature).numpy()
    assert classifier.temperature == pytest.approx(fit_temperature(raw, truth, None, ONE_OF), rel=1e-4)
    assert len(classifier.thresholds) == 2
    assert (run / "report" / "reliability.png").stat().st_size > 1000
    config = json.loads((run / "student" / "config.json").read_text())["classifier"]
    assert (config["kind"], config["has_head"], config["crop_seconds"]) == (ONE_OF, True, 10.0)
    assert "| calibration of the logits | temperature" in (run / "student" / "README.md").read_text()
    found = distill.evaluate(str(run), str(source), **CPU)
    assert (found.part, found.clips) == ("the clips that the run held out", 8)


def test_a_student_that_is_kept_early_knows_its_crop_and_its_data(sounds: Callable[..., Path], tmp_path: Path) -> None:
    words: dict[str, Any] = {"objective": "classification", "crop": distill.Crop(seconds=0.5), "keep_steps": [1]}
    fit(sounds(12), tmp_path / "run", teacher=None, epochs=1, **words)
    folders = tmp_path / "run" / "student", *(tmp_path / "run" / "students").iterdir()
    early, late = (distill.load(str(folder)).classifier for folder in sorted(folders))
    assert early is not None
    assert late is not None
    assert (early.crop_seconds, early.data) == (late.crop_seconds, late.data)
    assert early.crop_seconds == 0.5
    assert early.data


def test_without_held_out_clips_nothing_is_calibrated(sounds: Callable[..., Path], tmp_path: Path) -> None:
    student = TinyConvolution().eval()
    clips = ClipDataset(read_manifest(str(sounds(4))).labelled().subset([]), 16_000, Crop(2.0))
    assert calibrate_student(student, clips, 4, tmp_path) == []  # it does not classify
    student.labels, student.classifier = ("class0", "class1"), Classifier(ONE_OF, Head(8, 2))
    (tmp_path / "reliability.png").write_text("of an earlier run")
    assert calibrate_student(student, clips, 4, tmp_path) == ["not calibrated: no clips are held out"]
    assert student.classifier.as_config() == Classifier(ONE_OF).as_config()
    assert not list(tmp_path.glob("*.png"))


def test_the_head_of_a_probe_is_kept_in_a_copy(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, run = sounds(30), tmp_path / "run"
    fit(data, run, epochs=1)
    before = (run / "student" / "config.json").read_bytes()
    parts = ("train", "train", "val", "test", "test")
    source = table(data, lambda number, path: f"{path.parent.name},{parts[number % 5]}")
    probed = distill.probe(str(source), model=str(run), save_head=True, baselines=False, **CPU)
    assert (run / "student" / "config.json").read_bytes() == before
    kept = run / "probe" / "clips.csv" / "linear"
    found = distill.evaluate(str(kept), str(source), **CPU)
    assert found.part == "the part 'test'"
    for name in ("accuracy", "mAP", "AUC"):
        assert found.metrics[name] == pytest.approx(probed.metrics[name]), name
    student, original = distill.load(str(kept)), distill.load(str(run))
    assert student.classifier is not None
    assert student.classifier.thresholds
    assert student.labels == ("class0", "class1")
    held_out = [path for number, path in enumerate(sorted(data.rglob("*.wav"))) if parts[number % 5] == "val"]
    truth = np.array([[path.parent.name == name for name in student.labels] for path in held_out], float)
    raw = (logits_of(student, held_out) * student.classifier.temperature).numpy()
    assert student.classifier.temperature == pytest.approx(fit_temperature(raw, truth, None, ONE_OF), rel=1e-3)
    clip = torch.randn(4000)
    assert student.embed(clip, 16_000).clip.equal(original.embed(clip, 16_000).clip)
    assert original.embed(clip, 16_000).logits.shape == (1, 0)
    assert "## Classes" in (kept / "student" / "README.md").read_text()
    assert (kept / "reliability.png").stat().st_size > 1000
    made = distill.predict(str(kept), str(data), str(tmp_path / "t.csv"), **CPU)
    assert made.rows == 30


def test_with_folds_the_kept_head_is_trained_on_all_clips(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = sounds(20), tmp_path / "run"
    fit(data, run, epochs=1)
    distill.probe(str(data), model=str(run), save_head=True, baselines=False, **CPU)
    assert "calibrated on 20 held-out clips" in capsys.readouterr().out
    distill.evaluate(str(run / "probe" / "sounds" / "linear"), str(data), **CPU)
    assert "the scores are too high" in capsys.readouterr().out


def test_only_a_linear_head_of_a_student_can_be_kept(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(4))
    for wrong in ({"teacher": "spectral"}, {"model": "run", "protocol": "knn"}, {"model": "run", "untrained": True}):
        with pytest.raises(UserError, match="--save_head"):
            distill.probe(data, save_head=True, out=str(tmp_path / "p"), **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "p").exists()
