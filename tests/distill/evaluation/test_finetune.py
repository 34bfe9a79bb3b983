"""Fine-tuning, and the labels that it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import distill
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.objectives.classification import Classification
from distill.students.saved import save_student
from tests.distill.commands.test_probe import esc50


def test_fine_tuning_learns_on_some_folds_and_is_scored_on_others(tmp_path: Path) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    sizes = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1, "dropout": 0.0}
    save_student(distill.create_student("hear", **sizes).eval(), tmp_path / "run" / "student", "card")
    before = {key: tensor.clone() for key, tensor in distill.load(str(tmp_path / "run")).state_dict().items()}
    from distill.evaluation.settings import FineTuning

    broken = sorted(data.glob("audio/*.wav"))[0]
    broken.write_bytes(b"no sound")
    result = distill.probe(
        str(data), model=str(tmp_path / "run"), protocol="finetune", finetuning=FineTuning(30, 3e-3, 8), workers=0,
        device="cpu",
    )  # fmt: skip
    assert result.protocol == "finetune"
    assert result.clips == len(list(data.glob("audio/*.wav"))) - 1
    with open(tmp_path / "run" / "probe" / "ESC-50" / "set_aside.csv") as file:
        assert file.read().count(broken.name) == 2  # id and path
    assert result.score >= 0.9
    after = distill.load(str(tmp_path / "run")).state_dict()
    assert all(after[key].equal(before[key]) for key in before)
    with pytest.raises(UserError, match="trains students"):
        distill.probe(str(data), teacher="spectral", protocol="finetune", out=str(tmp_path / "t"))


def test_fine_tuning_leaves_out_labels_that_nobody_asked_about(sounds: Callable[..., Path]) -> None:
    from distill.data.clips.dataset import ClipDataset, Crop
    from distill.data.sampling.batches import Draws

    rows = tuple(
        Row(path.name, path, labels=("x",), annotated=("x", "y") if number else ("x",))
        for number, path in enumerate(sorted(sounds(2, seconds=0.2).rglob("*.wav")))
    )
    student = distill.create_student("hear_classifier", classes=2, hidden=8, intermediate=8, heads=2, layers=1,
                                     task_hidden=8, task_intermediate=8, task_heads=2, head_hidden=8)  # fmt: skip
    loaded = ClipDataset(Manifest(Path(), rows), 16_000, Crop(), ("x", "y")).__getitems__(Draws([0, 1], [0, 1]))
    assert loaded.batch is not None
    assert loaded.batch.labels.isnan().tolist() == [[False, True], [False, False]]
    loss = Classification(student)(loaded.batch)["classification"]
    assert loss.isfinite()
