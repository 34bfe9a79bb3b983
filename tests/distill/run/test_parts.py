"""The parts of a run: they are loaded, and must fit each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.data.errors import UserError
from distill.run.parts import name_classes, take_weights
from distill.students.decisions import MANY
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from tests.own_parts import TinyConvolution
from tests.students.hear.tiny import HEAR_OPTIONS
from tests.students.tiny import tiny_options


def fit_error(data: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        distill.fit(data=str(data), out=str(out), engine={"workers": 0, "accelerator": "cpu"}, **settings)
    return str(caught.value)


def test_what_does_not_go_together(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8, seconds=1.0)
    tiny = {"class_path": "hear_tokenizer", "init_args": {**HEAR_OPTIONS, "codes": 8}}
    out = tmp_path / "run"
    assert "hear_tokenizer" in fit_error(data, out, student="mobilenet_v3", teacher="spectral", objective="tokenizer")
    assert "takes no teacher" in fit_error(data, out, student=tiny, teacher="spectral", objective="classification")
    mam = {"class_path": "masked_prediction", "init_args": {"tokenizer": str(data)}}
    assert "no trained student" in fit_error(
        data, out, student={"class_path": "hear", "init_args": HEAR_OPTIONS}, objective=mam
    )


def test_classification_that_cannot_work_writes_no_run(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, out = sounds(6), tmp_path / "run"
    own = {"class_path": "tests.own_parts.TinyConvolution", "init_args": {"channels": 4}}
    table = tmp_path / "clips.csv"
    table.write_text("path\n" + "".join(f"{path}\n" for path in sorted(data.rglob("*.wav"))))
    settings = {"root": str(tmp_path), "student": own, "objective": "classification"}
    assert "no clip has a label" in fit_error(table, out, **settings)
    same = {**settings, "root": ""}
    assert "all clips have the label" in fit_error(data / "class0", out, **same)
    several = tmp_path / "several.csv"
    rows = [f"{path},{'a;b' if number else 'a'}\n" for number, path in enumerate(sorted(data.rglob("*.wav")))]
    several.write_text("path,labels\n" + "".join(rows))
    crossed = {"class_path": "classification", "init_args": {"loss": "cross_entropy"}}
    assert "several labels" in fit_error(several, out, **{**settings, "objective": crossed})
    sized = {"class_path": "hear_classifier", "init_args": {**tiny_options("hear_classifier"), "classes": 7}}
    assert "--student.classes 7: the data has 2" in fit_error(data, out, **{**same, "student": sized})
    assert not out.exists()


def test_a_head_stays_for_the_same_classes_only(tmp_path: Path) -> None:
    student = distill.create_student("tests.own_parts.TinyConvolution")
    classifier = student.classifier = Classifier(MANY, Head(8, 2))
    student.labels = ("a", "b")
    save_student(student, tmp_path, "card")
    name_classes(student, ("a", "b"))
    assert (student.classifier, student.labels) == (classifier, ("a", "b"))
    name_classes(student, ("a", "c"))
    assert (student.classifier, student.labels) == (None, ("a", "c"))
    student.classifier = classifier
    name_classes(student, ())  # its embedding is trained further, by which the head is lost
    assert (student.classifier, student.labels) == (None, ())
    student.classifier, student.labels = Classifier(MANY), ("a", "b")  # the network itself has logits
    name_classes(student, ())
    assert (student.classifier, student.labels) == (None, ("a", "b"))
    for classes, kept in ((("a", "b"), True), (("b", "c"), False)):
        other = TinyConvolution()
        other.labels = classes
        take_weights(other, str(tmp_path), new_head=True)
        assert (other.classifier is not None) == kept
        assert other.labels == classes
