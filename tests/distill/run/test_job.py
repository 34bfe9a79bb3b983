"""The clips that a run trains on, holds out and leaves alone, and the number of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.data.store.reader import EmbeddingStore
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitOptions
from tests.conftest import tone
from tests.distill.commands.test_fit import ENGINE, fit
from tests.own_parts import Loudness, TinyConvolution

TRAINING, VALIDATION, TEST = ({f"{index}.wav" for index in part} for part in (range(5), range(5, 8), range(8, 12)))
SPLITS = ["training"] * 5 + ["validation"] * 3 + ["test"] * 4
FOLDS = ["1", "2", "3"] * 4


def table(folder: Path, parts: Sequence[str]) -> Path:
    """Clips that are named and lie nowhere, in these parts."""
    path = folder / "clips.csv"
    path.write_text("path,split\n" + "".join(f"{index}.wav,{part}\n" for index, part in enumerate(parts)))
    return path


def clips_of(data: Path, **changes: Any) -> tuple[set[str], set[str]]:
    """Ids of the clips that a run trains on, and of those that it watches."""
    teacher, student = distill.create_teacher(Loudness), distill.create_student(TinyConvolution)
    out = str(data.parent / "run")
    job = Job(FitOptions(teacher, student, str(data), out, **{"engine": ENGINE, **changes}))  # type: ignore[arg-type]
    made = job.data(job.parts.manifest, 16_000)
    assert len(made.order.indices(0, 0, len(made.train_clips))) == len(made.train_clips)
    trained, watched = ([row.id for row in clips.manifest.rows] for clips in (made.train_clips, made.validation_clips))
    assert (len(trained), len(watched)) == (len(set(trained)), len(set(watched)))
    return set(trained), set(watched)


@pytest.mark.parametrize(
    ("fold", "trained", "watched"),
    [
        ("", TRAINING, VALIDATION),
        ("validation", TRAINING, VALIDATION),
        ("train", VALIDATION, TRAINING),
        ("test", TRAINING | VALIDATION, TEST),
    ],
)
def test_a_test_split_is_left_alone_and_the_watched_split_is_not_trained_on(
    fold: str, trained: set[str], watched: set[str], tmp_path: Path
) -> None:
    assert clips_of(table(tmp_path, SPLITS), fold=fold) == (trained, watched)


def test_a_fold_is_watched_and_all_others_are_trained_on(tmp_path: Path) -> None:
    data = table(tmp_path, FOLDS)
    for fold in (1, 2, 3):
        watched = {f"{index}.wav" for index in range(12) if FOLDS[index] == str(fold)}
        assert clips_of(data, fold=str(fold)) == ({f"{index}.wav" for index in range(12)} - watched, watched)


def test_without_a_named_part_a_share_is_watched_that_stays_when_clips_are_added(tmp_path: Path) -> None:
    everything = {f"{index}.wav" for index in range(400)}
    trained, watched = clips_of(table(tmp_path, [""] * 400), validation=0.25)
    assert trained | watched == everything
    assert not trained & watched
    assert 70 < len(watched) < 130
    _, before = clips_of(table(tmp_path, [""] * 200), validation=0.25)
    assert before == {f"{index}.wav" for index in range(200)} & watched
    assert clips_of(table(tmp_path, [""] * 400), validation=0.0) == (everything, set())


def test_the_share_that_is_watched_is_none_of_the_test_split(tmp_path: Path) -> None:
    trained, watched = clips_of(table(tmp_path, ["training", "test"] * 50), validation=0.5)
    assert trained | watched == {f"{index}.wav" for index in range(0, 100, 2)}
    assert not trained & watched
    assert 15 < len(watched) < 35


class Notes(TinyConvolution):
    """Records the clips that it encodes, in training and in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: dict[bool, set[str]] = {True: set(), False: set()}

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        self.encoded[self.training].update(clip for clip in batch.ids if clip.endswith(".wav"))
        return super().encode(batch)


def sounds_of(folder: Path, parts: Sequence[str]) -> Path:
    """The same clips as sounds: low tones to train on, and high ones elsewhere."""
    for index, part in enumerate(parts):
        frequency = 300 + 20 * index if part == "training" else 3_000 + 200 * index
        soundfile.write(folder / f"{index}.wav", tone(frequency, 0.2, seed=index), 16_000)
    return table(folder, parts)


def test_a_run_hears_in_training_what_it_trains_on_and_else_what_it_watches(tmp_path: Path) -> None:
    data = sounds_of(tmp_path, SPLITS)
    for fold, trained, watched in (("", TRAINING, VALIDATION), ("test", TRAINING | VALIDATION, TEST)):
        student = Notes()
        fit(data, tmp_path / f"run{fold}", student=student, fold=fold, batch_size=len(trained), epochs=1)
        assert student.encoded[True] == trained
        assert student.encoded[False] - trained == watched  # the quality report embeds training clips too


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"policy": "cluster", "clusters": 2}},
        {"sampling": {"clusters": 2}, "objective": {"class_path": "embedding", "init_args": {"loss": "hybrid"}}},
    ],
    ids=["to_draw_by", "for_the_loss"],
)
def test_clusters_are_learned_from_the_clips_that_are_trained_on(changes: dict[str, Any], tmp_path: Path) -> None:
    fit(sounds_of(tmp_path, SPLITS), tmp_path / "run", epochs=1, **changes)
    run = Run(tmp_path / "run")
    store = EmbeddingStore(run.path / "embeddings")
    labels, centroids = (np.load(run.path / "clusters" / f"{name}.npy") for name in ("labels", "centroids"))
    assert labels.shape == (12,)
    embeddings, trained = store.read_all(), np.array([clip in TRAINING for clip in store.ids])
    for cluster in range(2):
        own = embeddings[trained & (labels == cluster)]
        np.testing.assert_allclose(centroids[cluster], own.mean(0), rtol=1e-4, atol=1e-4)


def test_a_budget_becomes_a_number_of_steps_that_is_saved(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"epochs": None}
    fit(sounds(8), tmp_path / "run", budget="2s", **options)
    steps = Run(tmp_path / "run").config["max_steps"]
    assert f"--budget 2s: {steps:,} steps of" in capsys.readouterr().out
    assert 1 <= steps <= 20 * 600
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[0]) <= steps
    fit(sounds(8), tmp_path / "both", budget="1h", max_steps=3, **options)
    assert Run(tmp_path / "both").config["max_steps"] == 3


def test_the_student_is_kept_at_given_steps(sounds: Callable[..., Path], tmp_path: Path) -> None:
    student = fit(sounds(8), tmp_path / "run", epochs=None, max_steps=4, keep_steps=(2, 4))
    kept = Run(tmp_path / "run").kept_students()
    assert [path.name for path in kept] == ["step_000000002", "step_000000004"]
    early, late = (distill.load(str(path)).state_dict() for path in kept)
    assert all(torch.equal(late[name], tensor) for name, tensor in student.state_dict().items())
    assert any(not torch.equal(early[name], tensor) for name, tensor in student.state_dict().items())


def test_a_run_by_steps_goes_on_to_the_weights_of_the_whole_one(sounds: Callable[..., Path], tmp_path: Path) -> None:
    """More steps move the validations, but not the batches; a constant rate does not depend on the number of steps."""
    optimizer = distill.Optimizer(schedule="constant", warmup=0.0)
    options: dict[str, Any] = {"epochs": None, "optimizer": optimizer}
    data = sounds(8)
    whole = fit(data, tmp_path / "whole", max_steps=12, **options)
    fit(data, tmp_path / "parts", max_steps=5, **options)
    parts = distill.fit(out=str(tmp_path / "parts"), resume=True, max_steps=12)
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=0, atol=0)
