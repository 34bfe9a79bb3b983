"""`distill predict`: scores of files and windows as tables, and input that has none."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

import distill
from distill.cli.shell import main
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.students.decisions import MANY
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from tests.conftest import tone
from tests.distill.commands.test_evaluate import CPU, classifier


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_every_file_has_its_most_probable_class(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, model = sounds(6), classifier(tmp_path / "run")
    (data / "class0" / "broken.wav").write_bytes(b"no sound")
    made = distill.predict(str(model), str(data), str(tmp_path / "t.csv"), **CPU)
    student = distill.load(str(model))
    rows = rows_of(made.path)
    assert (made.rows, made.clips, len(rows)) == (6, 6, 6)
    for row, path in zip(rows, sorted(path for path in data.rglob("0*.wav")), strict=False):
        assert (data / row["path"]).is_file()
        found = student.embed_file(data / row["path"]).logits.softmax(1)[0]
        assert row["class"] == student.labels[int(found.argmax())]
        assert float(row["probability"]) == pytest.approx(float(found.max()), abs=2e-6)
        assert float(row["end"]) == pytest.approx(soundfile.info(data / row["path"]).duration)
        assert path.is_file()
    assert "broken.wav" in (tmp_path / "t.set_aside.csv").read_text()
    again = read_manifest(distill.Data(made.path, root=data))  # the predictions are labels
    assert [row.labels[0] for row in again.rows] == [row["class"] for row in rows]


def test_windows_of_one_recording_have_rows_of_their_own(tmp_path: Path) -> None:
    model, night = classifier(tmp_path / "run"), tmp_path / "night.wav"
    soundfile.write(night, tone(400, 3.3, seed=1), 16_000, subtype="FLOAT")
    words = ["predict", "--model", str(model), "--data", str(night), "--windows", "1", "--workers=0", "--device=cpu"]
    main([*words, "--scores", "all", "--out", str(tmp_path / "t.csv")])
    rows = rows_of(tmp_path / "t.csv")
    student = distill.load(str(model))
    expected = list(student.windows_of(night, distill.Windows(1.0)))
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        pytest.approx((window.start, window.end)) for window in expected
    ]
    assert {row["path"] for row in rows} == {"night.wav"}
    found = torch.tensor([[float(row["class0"]), float(row["class1"])] for row in rows])
    logits = torch.cat([window.embeddings.logits for window in expected])
    torch.testing.assert_close(found, logits.softmax(1), atol=1e-5, rtol=0)
    main([*words, "--out", str(tmp_path / "t.txt"), "--threshold", "0.5"])
    selections = rows_of(tmp_path / "t.txt", "\t")
    assert len(selections) == len(rows)  # one of two classes has at least a half
    assert selections[1]["Begin Path"] == str(night)
    again = read_manifest(tmp_path / "t.txt")
    assert [row.start for row in again.rows] == [float(row["start"]) for row in rows]


def test_thresholds_decide_which_classes_are_present(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = distill.create_student("tests.own_parts.TinyConvolution").eval()
    head = Head(8, 3)
    torch.nn.init.zeros_(head.linear.weight)
    head.linear.bias.data = torch.tensor([0.0, 1.0, -1.0])  # probabilities .5, .73, .27
    student.labels, student.classifier = ("a", "b", "c"), Classifier(MANY, head, 1.0, (0.6, 0.7, 0.2))
    save_student(student, tmp_path / "model", "card")
    data, model = sounds(2), str(tmp_path / "model")

    def classes(**options: object) -> list[str]:
        made = distill.predict(model, str(data), str(tmp_path / "t.csv"), **CPU, **options)  # type: ignore[arg-type]
        return [row["class"] for row in rows_of(made.path) if row["path"].endswith("000.wav")]

    assert classes() == ["b", "c"]
    assert "at least 0.2 to 0.7" in capsys.readouterr().out
    assert classes(threshold=0.4) == ["b", "a"]
    assert classes(scores="best", top=2) == ["b", "a"]
    assert classes(threshold=0.9) == []


def test_input_that_cannot_be_predicted_is_one_line(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, model, out = sounds(2), str(classifier(tmp_path / "run")), str(tmp_path / "t.csv")
    texts, broken = tmp_path / "texts", tmp_path / "broken"
    for folder in (texts, broken):
        folder.mkdir()
    (texts / "a.txt").write_text("no sound")
    (broken / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match="no audio"):
        distill.predict(model, str(texts), out, **CPU)
    with pytest.raises(UserError, match="none of 1 clips could be scored"):
        distill.predict(model, str(broken), out, **CPU)
    for wrong, message in (
        ({"out": str(tmp_path / "t.doc")}, "must end in"),
        ({"scores": "most"}, "--scores"),
        ({"top": 0}, "--top 0"),
        ({"threshold": 2.0}, "--threshold 2"),
        ({"windows": 1.0, "crop": distill.Crop()}, "omit --crop"),
    ):
        with pytest.raises(UserError, match=message):
            distill.predict(**{"model": model, "data": str(data), "out": out, **CPU, **wrong})  # type: ignore[arg-type]
    assert not Path(out).exists()
