"""`distill evaluate`: which clips are scored, what is written, and data that cannot be scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.cli.shell import main
from distill.commands.evaluate import scored_part
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.run.folder import Run
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from tests.conftest import tone
from tests.data.clips.published import trees
from tests.distill.commands.test_fit import fit

CPU = {"device": "cpu", "workers": 0}


def classifier(folder: Path, kind: str = ONE_OF, names: tuple[str, ...] = ("class0", "class1")) -> Path:
    """A student with random weights and a random head."""
    student = distill.create_student("tests.own_parts.TinyConvolution").eval()
    student.labels, student.classifier = names, Classifier(kind, Head(8, len(names)))
    save_student(student, folder / "student", "card")
    return folder


def table(data: Path, rows: Callable[[int, Path], str], header: str = "path,labels,split") -> Path:
    paths = sorted(data.rglob("*.wav"))
    text = "\n".join([header, *(f"{path.relative_to(data)},{rows(number, path)}" for number, path in enumerate(paths))])
    (data / "clips.csv").write_text(text + "\n")
    return data / "clips.csv"


def test_the_scores_are_those_of_the_student(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, model = sounds(20), classifier(tmp_path / "run")
    broken = sorted(data.rglob("*.wav"))[0]
    broken.write_bytes(b"no sound")
    result = distill.evaluate(str(model), str(data), **CPU)
    student, hits = distill.load(str(model)), []
    for path in sorted(data.rglob("*.wav"))[1:]:
        hits.append(student.labels[int(student.embed_file(path).logits.argmax())] == path.parent.name)
    assert result.clips == 19
    assert result.metrics["accuracy"] == pytest.approx(np.mean(hits))
    folder = model / "evaluation" / "sounds"
    written = json.loads((folder / "result.json").read_text())
    assert written["metrics"] == result.metrics
    assert [row["name"] for row in written["classes"]] == ["class0", "class1"]
    with open(folder / "by_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["clips"]) for row in rows] == [("class0", "9"), ("class1", "10")]
    assert float(rows[0]["AUC"]) == pytest.approx(result.classes[0].auc, abs=1e-4)
    for picture in ("confusion.png", "reliability.png"):
        assert (folder / picture).stat().st_size > 1000
    assert broken.name in (folder / "set_aside.csv").read_text()


def test_several_labels_on_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(12)
    source = table(data, lambda number, path: f"{'a;b' if number % 2 else 'b'},{'test' if number > 3 else 'train'}")
    model = classifier(tmp_path / "run", MANY, ("a", "b", "c"))
    main(["evaluate", "--model", str(model), "--data", str(source), "--out", str(tmp_path / "e"), "--workers=0"])
    printed = capsys.readouterr().out
    assert "the part 'test', 8 clips" in printed
    assert "1 classes do not occur and are left out of the means: 'c'" in printed
    written = json.loads((tmp_path / "e" / "result.json").read_text())
    assert "accuracy" not in written["metrics"]
    assert written["classes"][2]["auc"] is None
    assert not (tmp_path / "e" / "confusion.png").exists()


def test_data_that_cannot_be_scored_is_one_line(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, model = sounds(6, classes=3), classifier(tmp_path / "run")
    plain = tmp_path / "plain"
    save_student(distill.create_student("tests.own_parts.TinyConvolution"), plain, "card")
    with pytest.raises(UserError, match=r"1 of its 3 classes are unknown to .*'class2'; its classes are 'class0'"):
        distill.evaluate(str(model), str(data), **CPU)
    with pytest.raises(UserError, match="has no classes: train it"):
        distill.evaluate(str(plain), str(data), **CPU)
    unlabelled = table(data, lambda number, path: "", "path,note")
    with pytest.raises(UserError, match="two classes are required"):
        distill.evaluate(str(model), str(unlabelled), **CPU)
    empty = table(data, lambda number, path: ",test" if number < 2 else "class0,train")
    with pytest.raises(UserError, match="the part 'test' of the data has no labels"):
        distill.evaluate(str(model), str(empty), **CPU)
    with pytest.raises(UserError, match="--fold 7: the data has test, training"):
        distill.evaluate(str(model), str(empty), fold="7", **CPU)
    assert not (model / "evaluation").exists()


def test_the_scored_part_is_the_one_that_was_not_trained_on(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(12)
    source = table(data, lambda number, path: f"{path.parent.name},{number % 3}", "path,label,fold")
    fit(source, tmp_path / "run", teacher=None, objective="classification", epochs=1, fold="2")
    manifest = read_manifest(str(source))
    trained = distill.load(str(tmp_path / "run")).classifier
    assert trained is not None
    part, scored = scored_part(manifest, "", Run(tmp_path / "run"), trained.data)
    assert part == "the clips that the run held out"
    assert set(scored.splits.tolist()) == {"2"}
    assert scored_part(manifest, "2", Run(tmp_path / "run"), trained.data)[0] == "the part '2'"
    assert scored_part(manifest, "", Run(tmp_path / "run"), "other")[0] == "all clips"
    assert capsys.readouterr().out.count("the scores are too high") == 0
    assert scored_part(manifest, "1", Run(tmp_path / "run"), trained.data)[0] == "the part '1'"
    assert "the scores are too high" in capsys.readouterr().out
    assert scored_part(manifest, "", Run(tmp_path), trained.data)[0] == "all clips"
    assert "the scores are too high" in capsys.readouterr().out
    rows = [Row(row.id, row.path, labels=row.labels, split="test" if row.split == "0" else "") for row in manifest.rows]
    part, scored = scored_part(Manifest(manifest.source, rows), "", Run(tmp_path / "run"), "")
    assert (part, len(scored)) == ("the part 'test'", 4)


def write_audioset(folder: Path) -> Path:
    """Write twelve clips in the layout of AudioSet's balanced lists, with one or two of three labels."""
    labels = ("/m/09x0r", "/m/04rlf", "/m/09x0r,/t/dd00088")
    head = "# YTID, start_seconds, end_seconds, positive_labels"
    indices = ('0,/m/09x0r,"Speech"', '1,/m/04rlf,"Music"', '2,/t/dd00088,"Gush"')
    trees.table(folder / "class_labels_indices.csv", "index,mid,display_name", *indices)
    for part, clips in (("balanced_train", range(6)), ("eval", range(6, 12))):
        lines = [f'{number:011d}, 0.000, 10.000, "{labels[number % 3]}"' for number in clips]
        trees.table(folder / f"{part}_segments.csv", head, *lines)
        (folder / part).mkdir()
        for number in clips:
            sound = tone(300 * (1 + number % 3) + 10 * number, 0.5, seed=number)
            soundfile.write(folder / part / f"Y{number:011d}.wav", sound, 16_000)
    return folder


def test_audioset_is_scored_by_map_on_its_evaluation_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_audioset(tmp_path / "AudioSet")
    run = tmp_path / "run"
    fit(data, run, teacher=None, objective="classification", epochs=1, task="audioset_20k")
    capsys.readouterr()
    result = distill.evaluate(str(run), str(data), task="audioset_20k", **CPU)
    assert (result.part, result.clips, result.kind) == ("the part 'test'", 6, MANY)
    assert "accuracy" not in result.metrics
    scored = [score.average_precision for score in result.classes]
    assert result.metrics["mAP"] == pytest.approx(np.mean(scored))
    assert f"mAP                {result.metrics['mAP']:7.4f}" in capsys.readouterr().out


def test_a_line_says_that_the_calibration_was_fitted_on_the_held_out_clips(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, line = sounds(20), "the probabilities were calibrated on these clips"
    source = table(data, lambda number, path: f"{path.parent.name},{('', 'val', 'test')[number % 3]}")
    fit(source, tmp_path / "run", teacher=None, objective="classification", epochs=1)
    for fold, fitted in (("val", True), ("test", False)):
        capsys.readouterr()
        distill.evaluate(str(tmp_path / "run"), str(source), fold=fold, **CPU)
        assert (line in capsys.readouterr().out) == fitted
