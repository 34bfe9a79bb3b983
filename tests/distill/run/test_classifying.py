"""Scores of clips: in order, of any length, without those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.run import recordings
from distill.run.classifying import Scorer
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from tests.conftest import tone


def scorer(folder: Path, batch_size: int = 3) -> Scorer:
    student = distill.create_student("tests.own_parts.TinyConvolution").eval()
    student.labels, student.classifier = ("a", "b"), Classifier(MANY, Head(8, 2), 2.0, (0.2, 0.7), 0.3)
    save_student(student, folder, "card")
    return Scorer.load(str(folder), None, batch_size, 0, "cpu")


@pytest.fixture
def clips(sounds: Callable[..., Path]) -> Manifest:
    data = sounds(8)
    soundfile.write(data / "class0" / "long.wav", tone(500, 1.5, seed=3), 16_000)
    (data / "class0" / "broken.wav").write_bytes(b"no sound")
    return read_manifest(str(data))


def test_every_clip_has_the_logits_of_its_file(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = scorer(tmp_path)
    found = list(used.scores(clips, Crop(0.0), "test"))
    monkeypatch.setattr(recordings, "LONG_SECONDS", 1.0)  # so that one clip is read piece by piece
    pieces = list(used.scores(clips, Crop(0.0), "test"))
    expected = {row.id: used.student.embed_file(row.path).logits[0].numpy() for row in clips.rows
                if "broken" not in row.id}  # fmt: skip
    for batches in (found, pieces):
        rows = [row for batch in batches for row in batch.rows]
        assert [clips.ids[row] for row in rows] == [name for name in clips.ids if "broken" not in name]
        logits = np.concatenate([batch.logits for batch in batches])
        for row, values in zip(rows, logits, strict=True):
            np.testing.assert_allclose(values, expected[clips.ids[row]], atol=1e-5)
        assert [clip.id for batch in batches for clip in batch.set_aside] == ["class0/broken.wav"]
        assert sum(batch.seconds.used for batch in batches) == pytest.approx(8 * 0.5 + 0.14 + 1.5)


def test_the_crop_is_that_of_the_training(clips: Manifest, tmp_path: Path) -> None:
    used = scorer(tmp_path)
    assert used.crop == Crop(0.3)
    assert used.thresholds.tolist() == [0.2, 0.7]
    assert sum(batch.seconds.used for batch in used.scores(clips, used.crop, "test")) == pytest.approx(9 * 0.3)


def test_clips_with_impossible_scores_are_set_aside(clips: Manifest, tmp_path: Path) -> None:
    used = scorer(tmp_path)
    next(used.student.parameters()).data.fill_(float("nan"))
    (batch, *_) = used.scores(clips, used.crop, "test")
    assert batch.rows == []
    assert batch.logits.shape == (0, 2)
    assert {clip.reason for clip in batch.set_aside if "broken" not in clip.id} == {"not_finite"}


def test_a_student_of_an_earlier_version_is_of_the_kind_of_its_run(tmp_path: Path) -> None:
    from tests.students.tiny import tiny_student

    student = tiny_student("hear_classifier")
    student.labels = ("a", "b", "c")
    save_student(student, tmp_path / "student", "card")

    def kind() -> str:
        return Scorer.load(str(tmp_path), None, 2, 0, "cpu").classifier.kind

    assert kind() == ONE_OF
    for loss, expected in (("binary", MANY), ("cross_entropy", ONE_OF)):
        (tmp_path / "config.yaml").write_text(
            f"objective: {{class_path: classification, init_args: {{loss: {loss}}}}}\n"
        )
        assert kind() == expected


def test_a_student_without_classes_cannot_score(tmp_path: Path) -> None:
    save_student(distill.create_student("tests.own_parts.TinyConvolution"), tmp_path, "card")
    with pytest.raises(UserError, match="has no classes"):
        Scorer.load(str(tmp_path), None, 2, 0, "cpu")
