"""Distillation from stored, live, several and trained teachers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.objectives.embedding import EmbeddingDistillation
from distill.run.folder import Run
from tests.conftest import GOLDEN
from tests.distill.commands.test_fit import fit
from tests.own_parts import TinyConvolution

LOUDNESS = "tests.own_parts.Loudness"

AST = ["--teacher.checkpoint", str(GOLDEN / "ast" / "ast_tiny")]
BEATS_FILE = str(GOLDEN / "beats" / "beats_tiny_finetuned.pt")
BEATS = [f"--teacher.checkpoint={BEATS_FILE}"]
SMALL = ["--student", "mobilenet_v3", "--student.width=0.1", "--epochs=2", "--batch_size=4", "--validation=0.3"]
HERE = ["--engine.workers=0", "--engine.accelerator=cpu"]


def test_several_teachers_from_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(sounds(12, seconds=1.0)), tmp_path / "run"
    words = [
        "fit",
        "--teacher+=beats",
        *BEATS,
        "--teacher+=ast",
        *AST,
        *SMALL,
        *HERE,
        "--data",
        data,
        "--out",
        str(out),
    ]
    main(words)
    printed = capsys.readouterr().out
    assert "teacher: beats" in printed
    assert "beats_tiny_finetuned.pt, sha256 " in printed
    assert "licence: BSD-3-Clause" in printed
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["loss"]][-1]
    assert float(last["beats"]) + float(last["ast"]) == pytest.approx(float(last["loss"]), rel=1e-4)
    assert {path.name for path in (out / "embeddings").iterdir()} == {"ast", "beats"}
    card = (out / "student" / "README.md").read_text()
    assert "distilled from beats and ast" in card
    assert "beats_tiny_finetuned.pt, sha256" in card
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert [teacher["class_path"] for teacher in config["teacher"]] == ["beats", "ast"]
    main(["fit", "--config", str(out / "config.yaml"), "--out", str(tmp_path / "again")])
    first, again = (distill.load(str(folder)).state_dict() for folder in (out, tmp_path / "again"))
    assert all(tensor.equal(again[key]) for key, tensor in first.items())


def test_stored_and_live_teachers_together(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, store = sounds(12), str(tmp_path / "store")
    distill.embed(str(data), store, teacher="spectral", workers=0)
    words = ["--live", *SMALL, *HERE, "--data", str(data), "--out", str(tmp_path / "mixed")]
    main(["fit", "--teacher+=precomputed", f"--teacher.store={store}", "--teacher+=ast", *AST, *words])
    stored = {"class_path": "precomputed", "init_args": {"store": store}}
    raw = {"class_path": "embedding", "init_args": {"targets": "raw"}}
    runs = {"stored": ([stored, LOUDNESS], raw), "live": (["spectral", LOUDNESS], raw),
            "standardised": (["spectral", LOUDNESS], "embedding")}  # fmt: skip
    clip = torch.from_numpy(np.random.default_rng(0).standard_normal(8000).astype(np.float32))
    said = {
        name: fit(data, tmp_path / name, teacher=teacher, objective=objective, live=True).embed(clip, 16_000).clip
        for name, (teacher, objective) in runs.items()
    }
    torch.testing.assert_close(said["stored"], said["live"], atol=1e-3, rtol=0)  # float16 in the store
    assert not torch.allclose(said["standardised"], said["live"], atol=1e-6)


def test_licence_and_origin_go_with_stores_and_students(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, store, out = sounds(8), str(tmp_path / "store"), tmp_path / "run"
    distill.embed(str(data), store, teacher={"class_path": "beats", "init_args": {"checkpoint": BEATS_FILE}}, workers=0)
    stored, live = distill.create_teacher("precomputed", store=store), distill.create_teacher("spectral")
    assert (stored.licence, stored.provenance.file) == ("MIT", BEATS_FILE)
    assert "OneDrive" in stored.source
    fit(data, out, teacher=[stored, live], objective={"class_path": "embedding", "init_args": {"targets": "raw"}})
    card = (out / "student" / "README.md").read_text()
    assert "that of the weights it learned from: MIT; MIT (no weights)" in card
    assert f"| the teacher's weights | {BEATS_FILE}" in card
    assert distill.create_teacher("frozen", student=str(out)).licence == "MIT; MIT (no weights)"
    fit(data, tmp_path / "next", teacher="spectral", init_from=str(out))
    assert distill.load(str(tmp_path / "next")).licence == "MIT; MIT (no weights)"


def test_a_store_of_another_crop_is_refused(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, store = sounds(8), str(tmp_path / "store")
    distill.embed(str(data), store, teacher="spectral", crop=distill.Crop(0.2), workers=0)
    teacher = {"class_path": "precomputed", "init_args": {"store": store}}
    with pytest.raises(UserError, match=r"crop_seconds 0\.2, and this run has 10\.0: --crop\.seconds 0\.2"):
        fit(data, tmp_path / "run", teacher=teacher, crop=distill.Crop())
    fit(data, tmp_path / "run", teacher=teacher)  # the default is the crop of the store
    assert Run(tmp_path / "run").config["crop"]["seconds"] == 0.2


def test_stored_frames_are_live_frames(sounds: Callable[..., Path], tmp_path: Path) -> None:
    sizes = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}
    options = {"objective": {"class_path": "embedding", "init_args": {"level": "frame", "targets": "raw"}},
               "student": {"class_path": "hear", "init_args": sizes}}  # fmt: skip
    data = sounds(8, seconds=1.0)
    stored = fit(data, tmp_path / "stored", epochs=2, **options)
    live = fit(data, tmp_path / "live", live=True, epochs=2, **options)
    clip = torch.from_numpy(np.random.default_rng(0).standard_normal(16_000).astype(np.float32))
    torch.testing.assert_close(stored.embed(clip, 16_000).clip, live.embed(clip, 16_000).clip, atol=1e-3, rtol=0)


def test_windows_are_set_from_the_command_line(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(4, seconds=1.0))
    words = ["embed", "--teacher", "ast", *AST, "--data", data, "--workers=0"]
    main([*words, "--out", str(tmp_path / "whole")])
    main([*words, "--teacher.windows.seconds=0.4", "--teacher.windows.pooling=max", "--out", str(tmp_path / "cut")])
    whole, cut = (np.fromfile(tmp_path / name / "00000.bin", np.float16) for name in ("whole", "cut"))
    assert np.abs(whole - cut).max() > 0.01


def test_a_trained_student_is_the_next_teacher(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(8))
    main(["fit", "--teacher", "spectral", *SMALL, *HERE, "--data", data, "--out", str(tmp_path / "first")])
    words = ["--data", data, "--out", str(tmp_path / "second")]
    main(["fit", "--teacher", "frozen", "--teacher.student", str(tmp_path / "first"), *SMALL, *HERE, *words])
    assert "distilled from frozen" in (tmp_path / "second" / "student" / "README.md").read_text()


def test_a_store_cannot_have_the_augmented_input(sounds: Callable[..., Path], tmp_path: Path) -> None:
    distill.embed(str(sounds(4, seconds=0.3)), str(tmp_path / "s"), teacher="spectral", workers=0)
    with pytest.raises(UserError, match="has embeddings of clean clips only"):
        EmbeddingDistillation(
            TinyConvolution(),
            {"one": distill.Precomputed(tmp_path / "s")},
            teacher_input="same",
            augmentation={"gain": 3},
        )


def test_views_of_stores_must_agree_and_are_not_changed_again(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(4, seconds=0.3))
    stores = {}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        views = distill.Views(2, seed=seed)
        distill.embed(data, str(tmp_path / name), teacher="spectral", views=views, workers=0)
        stores[name] = distill.Precomputed(tmp_path / name)

    def build(*names: str, teacher_input: str = "same", **options: Any) -> EmbeddingDistillation:
        chosen = {name: stores[name] for name in names}
        return EmbeddingDistillation(TinyConvolution(), chosen, teacher_input=teacher_input, **options)

    assert build("one", "again").views == distill.Views(2)
    assert build("one", teacher_input="clean").views == distill.Views()
    with pytest.raises(UserError, match="different views"):
        build("one", "other")
    with pytest.raises(UserError, match="has its changes already"):
        build("one", augmentation={"gain": 3})
