"""The main job: any teacher into any student, and the same result whatever happens on the way."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.data.sampling.orders import ClusterOrder
from distill.data.store.reader import EmbeddingStore
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitOptions
from distill.run.resuming import Stopped
from distill.students import STUDENTS
from distill.training.keep_alive import KeepAlive
from distill.training.optimizer import Optimizer
from tests.conftest import GOLDEN, tone
from tests.distill.command_line import ON_CPU, words_of
from tests.own_parts import Loudness, TinyConvolution
from tests.students.hear.tiny import HEAR_OPTIONS

AST = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
ENGINE = {"workers": 0, "accelerator": "cpu"}


def fit(data: Path, out: Path, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "teacher": "spectral",
        "student": "tests.own_parts.TinyConvolution",
        "data": str(data),
        "out": str(out),
        "epochs": 3,
        "batch_size": 4,
        "validation": 0.2,
        "engine": ENGINE,
    }
    return distill.fit(**{name: str(v) if isinstance(v, Path) else v for name, v in (options | changes).items()})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


def test_a_run_folder_is_complete_and_its_student_loads(sounds: Callable[..., Path], tmp_path: Path) -> None:
    student = fit(sounds(20), tmp_path / "run", student={"class_path": "mobilenet_v3", "init_args": {"width": 0.1}})
    run = tmp_path / "run"
    for name in ("config.yaml", "metrics.csv", "student/README.md", "report/losses.png"):
        assert (run / name).stat().st_size > 0
    loaded = distill.load(str(run))
    waveform = torch.randn(2, 8000)
    assert loaded.embed(waveform, 16_000).clip.equal(student.embed(waveform, 16_000).clip)
    card = (run / "student" / "README.md").read_text()
    assert "spectral" in card
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "feature-extraction"
    assert not list(run.rglob(".*.tmp"))


def test_the_loss_falls(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(24), tmp_path / "run", epochs=30, optimizer=Optimizer(learning_rate=1e-2))
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("teacher", ["ast", "tests.own_parts.Loudness", "object"])
def test_any_teacher(teacher: str, sounds: Callable[..., Path], tmp_path: Path) -> None:
    specs: dict[str, Any] = {"ast": AST, "object": distill.create_teacher(Loudness, bands=4)}
    assert isinstance(fit(sounds(8), tmp_path / "run", teacher=specs.get(teacher, teacher), epochs=1), TinyConvolution)


def test_a_registered_student_is_known_by_name(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STUDENTS, "_registered", {})
    distill.register_student("tiny_convolution")(TinyConvolution)
    fit(sounds(8), tmp_path / "run", student="tiny_convolution", epochs=1)
    assert json.loads((tmp_path / "run/student/config.json").read_text())["student"] == "tiny_convolution"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(12)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(data, tmp_path / name, seed=seed)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_workers_change_nothing(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(12)
    fit(data, tmp_path / "none")
    fit(data, tmp_path / "two", engine=ENGINE | {"workers": 2})
    assert same(tmp_path / "none", tmp_path / "two")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("batch", [1, 2, 4, 5])
def test_a_stopped_run_goes_on_to_the_same_weights(
    number: int, batch: int, sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sounds(12)
    options: dict[str, Any] = {"live": True, "crop": distill.Crop(0.3, "random")}
    fit(data, tmp_path / "whole", **options)
    count = KeepAlive.on_train_batch_end

    def stop(self: KeepAlive, *args: Any) -> None:
        if self.data.batches_done + 1 == batch:
            signal.raise_signal(number)
        count(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(KeepAlive, "on_train_batch_end", stop)
        with pytest.raises(Stopped, match=f"batch {batch} of 6") as stopped:
            fit(data, tmp_path / "cut", **options)
    assert stopped.value.exit_code == 128 + number
    assert not (tmp_path / "cut" / "student").exists()
    torch.rand(7)  # whatever the next process did with its random state
    fit(data, tmp_path / "cut", resume=True, **options)
    assert same(tmp_path / "whole", tmp_path / "cut")
    rows = []
    for run in ("whole", "cut"):
        with open(tmp_path / run / "metrics.csv", newline="") as file:
            rows.append([(row["batch"], row["validation_loss"]) for row in csv.DictReader(file)])
    assert rows[0] == rows[1]  # a stop adds no validation
    assert rows[0][-1][0] == "6"


def test_what_is_said_beside_resume_is_heard(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(12)
    fit(data, tmp_path / "run", epochs=1)
    distill.fit(out=str(tmp_path / "run"), resume=True, epochs=2)
    fit(data, tmp_path / "whole", epochs=2)
    ends = [max((tmp_path / name / "checkpoints").iterdir()).name for name in ("run", "whole")]
    assert ends[0] == ends[1]
    with pytest.raises(UserError, match="seed was 0, is 5"):
        distill.fit(out=str(tmp_path / "run"), resume=True, seed=5)


def test_a_resumed_run_must_be_the_same_run(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    fit(data, tmp_path / "run")
    with pytest.raises(UserError, match="batch_size was 4, is 3"):
        fit(data, tmp_path / "run", resume=True, batch_size=3)


def test_init_from_begins_with_another_runs_weights(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    fit(data, tmp_path / "first", epochs=1)
    optimizer = Optimizer(learning_rate=1e-12, weight_decay=0.0)
    fit(data, tmp_path / "second", epochs=1, seed=9, init_from=str(tmp_path / "first"), optimizer=optimizer)
    torch.testing.assert_close(weights(tmp_path / "second"), weights(tmp_path / "first"), atol=1e-9, rtol=0)


def test_broken_audio_is_listed_and_the_run_goes_on(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(12)
    (data / "empty.wav").touch()
    (data / "text.wav").write_text("no audio")
    for live in (False, True):
        out = tmp_path / f"live_{live}"
        fit(data, out, live=live, epochs=2, validation=0.0)
        assert "2 of 14 clips could not be used" in capsys.readouterr().out
        with open(out / "set_aside.csv", newline="") as file:
            reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
        assert reasons == {"empty.wav": "empty_file", "text.wav": "unrecognised_format"}
    store = EmbeddingStore(tmp_path / "live_False" / "embeddings")
    assert len(store) + len(store.set_aside) == 14


def test_nothing_readable_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "data" / name).touch()
    with pytest.raises(UserError, match="none of 2 clips"):
        fit(tmp_path / "data", tmp_path / "run")


def test_cluster_sampling_clusters_the_store(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(12), tmp_path / "run", sampling=distill.Sampling("cluster", clusters=2, draws=16))
    clusters = tmp_path / "run" / "clusters"
    report = json.loads((clusters / "clusters.json").read_text())["report"]
    assert report["clips"] == 12
    assert (clusters / "clusters.png").exists()


class Explodes(TinyConvolution):
    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        embeddings = super().encode(batch)
        return embeddings._replace(clip=embeddings.clip / 0.0) if self.training else embeddings


def test_a_loss_that_is_not_finite_stops_before_the_weights(sounds: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        fit(sounds(8), tmp_path / "run", student=distill.create_student(Explodes))
    assert not (tmp_path / "run" / "student").exists()
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "baets"}, "did you mean"),
        ({"student": "mobilenet"}, "did you mean 'mobilenet_v3'"),
        ({"objective": "embeding"}, "did you mean 'embedding'"),
        ({"objective": {"class_path": "embedding", "init_args": {"loss": "cosin"}}}, "did you mean 'cosine'"),
        ({"student": {"class_path": "mobilenet_v3", "init_args": {"widht": 1}}}, "widht"),
        ({"objective": {"class_path": "embedding", "init_args": {"hidden": object()}}}, "cannot be saved"),
        ({"data": "/nowhere"}, "no such file"),
        ({"epochs": 0}, "--epochs 0"),
        ({"sampling": {"policy": "balanced"}}, "uniform, cluster"),
        ({"sampling": {"policy": "cluster"}}, "50: must be from 1 to 8"),
        ({"sampling": {"policy": "label"}}, "no labels"),
        ({"crop": {"seconds": 1, "position": "random"}}, "--live"),
        ({"out": ""}, "--out"),
    ],
)
def test_a_mistake_gets_one_line_and_writes_nothing(
    changes: dict[str, Any], message: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fit(**{"data": sounds(8), "out": tmp_path / "run"} | changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_job_writes_its_config_so_that_it_builds_the_same(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(8), tmp_path / "run", epochs=1)
    run = Run(tmp_path / "run")
    assert Job(FitOptions.from_config(run.config)).resolved.as_config() == run.config


def test_targets_are_standardised_by_what_is_drawn(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(24)
    embeddings = distill.embed(str(data), str(tmp_path / "store"), teacher="spectral", workers=0).read_all()
    run, sampling = Run(tmp_path / "run"), {"policy": "cluster", "clusters": 5}
    teacher = {"class_path": "precomputed", "init_args": {"store": str(tmp_path / "store")}}
    objective = {"class_path": "embedding", "init_args": {"targets": "standardised"}}
    fit(data, run.path, teacher=teacher, sampling=sampling, objective=objective, validation=0.0, epochs=1)
    checkpoint, _ = run.newest_checkpoint()
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    mean = next(tensor for key, tensor in state.items() if key.endswith("normalise.mean"))
    drawn = ClusterOrder(np.load(run.path / "clusters" / "labels.npy")).indices(0, 0, 24)
    np.testing.assert_allclose(mean, embeddings[drawn].mean(0), rtol=1e-3, atol=1e-3)
    assert np.abs(mean.numpy() - embeddings.mean(0)).max() > 0.02


def test_a_fold_is_watched_and_not_trained_on(tmp_path: Path) -> None:
    rows = ["path,label,fold"]
    for index in range(12):
        soundfile.write(tmp_path / f"{index}.wav", tone(300 + 900 * (index % 2), 0.4, seed=index), 16_000)
        rows.append(f"{index}.wav,{'ab'[index % 2]},{index // 4}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    words = ["fit", "--student", "hear_classifier", *words_of("student", {**HEAR_OPTIONS, "task_hidden": 16}), *ON_CPU]
    words += ["--objective", "classification", "--data", str(tmp_path / "clips.csv"), "--out", str(tmp_path / "run")]
    main([*words, "--fold=2", "--batch_size=2"])
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        done = [row["batch"] for row in csv.DictReader(file) if row["loss"]]
    assert done == ["4"]  # 8 clips, and not 12
    with pytest.raises(SystemExit):
        main([*words, "--fold=9", "--overwrite"])


def test_a_test_split_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label,split"]
    for index, split in enumerate(["training"] * 8 + ["validation"] * 3 + ["test"] * 5):
        soundfile.write(tmp_path / f"{index}.wav", tone(300 + 900 * (index % 2), 0.4, seed=index), 16_000)
        rows.append(f"{index}.wav,{'ab'[index % 2]},{split}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    words = ["fit", "--student", "hear_classifier", *words_of("student", {**HEAR_OPTIONS, "task_hidden": 16}), *ON_CPU]
    words += ["--objective", "classification", "--data", str(tmp_path / "clips.csv"), "--batch_size=2"]
    main([*words, "--out", str(tmp_path / "run")])
    assert "5 clips of the split 'test' are not used" in capsys.readouterr().out
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        done = [row["batch"] for row in csv.DictReader(file) if row["loss"]]
    assert done == ["4"]  # 8 clips; with those that are watched it were 5, with those of the test split 6


def test_a_student_without_logits_is_trained_on_labels(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, out = sounds(16, classes=2), tmp_path / "run"
    fit(data, out, teacher=None, objective="classification", epochs=40, batch_size=8)
    student = distill.load(str(out))
    assert student.labels == ("class0", "class1")
    hits = 0
    for path in sorted(data.rglob("*.wav")):
        hits += student.labels[int(student.embed_file(path).logits.argmax())] == path.parent.name
    assert hits >= 14
    continued = fit(data, tmp_path / "more", teacher=None, objective="classification", init_from=out, epochs=1)
    assert continued.classifier.head is not None
    assert "classes" in (out / "student" / "README.md").read_text()
