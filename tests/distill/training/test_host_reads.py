"""How often the host waits for the device in a training step, counted with a pretend device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import Loaded
from distill.data.sampling.clusters import Clustering
from distill.data.store.texts import Texts
from distill.losses import LOSSES
from distill.objectives import OBJECTIVES
from distill.objectives.classification import Classification
from distill.objectives.embedding import EmbeddingDistillation
from distill.objectives.latent_prediction import LatentPrediction
from distill.objectives.masked import MaskedTokenPrediction
from distill.objectives.objective import Objective
from distill.objectives.parts.augmentation import Augmentation
from distill.objectives.tokenizer import TokenizerDistillation
from distill.objectives.utterance_frame import UtteranceFrame
from distill.students.hear.students import HearTokenizer
from distill.students.patch_transformer.student import PatchTransformer
from distill.teachers.teacher import Teacher
from distill.training.distiller import Distiller
from distill.training.optimizer import Optimizer
from distill.training.progress import Progress
from tests.own_parts import Loudness
from tests.pretend_device import DEVICE, PretendDevice, pretend
from tests.students.tiny import STUDENT_NAMES, tiny_student

ROW_INTERVAL = 2


def teacher(bands: int = 4) -> dict[str, Teacher]:
    return {"loudness": Loudness(bands=bands)}


def embedding(student: str = "cnn", **options: Any) -> Objective:
    made = EmbeddingDistillation(tiny_student(student), options.pop("teachers", teacher()), **options)
    numbers = np.arange(4, dtype=np.int32) % 2
    made.clusters = Clustering(Texts.of(["0", "1", "2", "3"]), numbers, np.zeros((2, 2), np.float32), 0.0)
    return made


def tokenizer(**teachers: Teacher) -> Objective:
    student = tiny_student("hear_tokenizer")
    return TokenizerDistillation(student, teachers, code_dim=4, hidden=8, intermediate=8, heads=2, layers=1)


def masked(**options: Any) -> Objective:
    stage1 = tiny_student("hear_tokenizer")
    assert isinstance(stage1, HearTokenizer)
    return MaskedTokenPrediction(tiny_student("hear"), stage1, **options)


def utterance_frame(**options: Any) -> Objective:
    student = tiny_student("patch_transformer")
    return UtteranceFrame(student, teacher(), clones=2, decoder_layers=1, decoder_groups=1, **options)


def latent_prediction(**options: Any) -> Objective:
    student = PatchTransformer(hidden=16, layers=2, heads=2, norm="pre", bands=80)
    return LatentPrediction(student, classes=12, head_hidden=8, predictor_layers=1, predictor_heads=2, **options)


def classification(**options: Any) -> Objective:
    student = tiny_student("cnn")
    student.labels = ("a", "b", "c")
    return Classification(student, **options)


OF_OBJECTIVES: dict[str, list[Callable[[], Objective]]] = {
    "classification": [
        classification,
        lambda: classification(loss="binary", augmentation=Augmentation(mixup=0.5, gain=3, roll=True, noise=0.1)),
        lambda: Classification(tiny_student("hear_classifier")),
    ],
    "embedding": [
        embedding,
        lambda: embedding(targets="raw", projector="mlp", augmentation=Augmentation(1.0, 3, True, 0.1)),
        lambda: embedding(teachers={"one": Loudness(bands=2), "two": Loudness(bands=3)}, teacher_dropping=0.5),
    ],
    "latent_prediction": [latent_prediction, lambda: latent_prediction(hypotheses=2)],
    "masked_prediction": [masked, lambda: masked(mask="spans"), lambda: masked(official=True)],
    "utterance_frame": [utterance_frame, lambda: utterance_frame(layer=1, distance="kl", targets="standardised")],
    "tokenizer": [tokenizer],
}


def batch(padded: bool = False) -> AudioBatch:
    lengths = torch.tensor([12_000, 8_000, 12_000, 5_000]) if padded else None
    clips = AudioBatch.of(torch.randn(4, 12_000) * 0.1, 16_000, lengths)
    return replace(clips, labels=torch.eye(3)[torch.arange(4) % 3])


def waits(objective: Objective, clips: AudioBatch, folder: Path, steps: int = ROW_INTERVAL + 1) -> list[dict[str, int]]:
    """Train on the pretend device as Lightning does. Return what each step waits for."""
    torch.manual_seed(0)
    module = Distiller(objective, Optimizer(), steps=100)
    for moved in (objective, *objective.teachers.values()):
        pretend(moved)
    adam = module.configure_optimizers()["optimizer"]
    trainer: Any = SimpleNamespace(global_step=0, precision="32-true", optimizers=[adam])
    module._trainer = trainer
    data: Any = SimpleNamespace(batches_done=0, sampler=lambda: Sampler())
    progress = Progress(folder / "metrics.csv", data, ROW_INTERVAL)
    progress.on_train_start(trainer, module)
    found = []
    for step in range(steps):
        with PretendDevice() as device:
            loaded = Loaded(clips.to(DEVICE, non_blocking=True), ())
            loss = module.training_step(loaded, step)
            assert loss is not None
            loss.backward()
            module.configure_gradient_clipping(adam)
            adam.step()
            adam.zero_grad()
            trainer.global_step = data.batches_done = step + 1
            objective.after_step(step + 1)
            progress.on_train_batch_end(trainer, module, None, loaded, step)
        found.append(dict(device.waits))
    progress.on_train_end(trainer, module)
    return found


class Sampler:
    batches_per_epoch = 10

    def __len__(self) -> int:
        return 100


def assert_no_wait_but_for_rows(found: list[dict[str, int]]) -> None:
    for step, counted in enumerate(found[1:], start=2):  # the first one finds out what is known from then on
        assert sum(counted.values()) == (step % ROW_INTERVAL == 0), (step, counted)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES.names() if OBJECTIVES.location(name) is not None])
def test_a_step_of_each_objective_waits_only_where_a_row_is_written(name: str, padded: bool, tmp_path: Path) -> None:
    for build in OF_OBJECTIVES[name]:
        assert_no_wait_but_for_rows(waits(build(), batch(padded), tmp_path))


@pytest.mark.parametrize("name", [name for name in LOSSES.names() if LOSSES.location(name) is not None])
def test_no_loss_makes_a_step_wait(name: str, tmp_path: Path) -> None:
    assert_no_wait_but_for_rows(waits(embedding(loss=name), batch(), tmp_path))
    if name in ("other_clusters", "cluster_aware", "hybrid"):
        official = {"class_path": name, "init_args": {"official": True}}
        assert_no_wait_but_for_rows(waits(embedding(loss=official), batch(), tmp_path))


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_no_student_waits_for_the_device(name: str) -> None:
    student = tiny_student(name).train()
    pretend(student)
    with PretendDevice() as device, torch.no_grad():
        clips = batch(padded=True).to(DEVICE, non_blocking=True)
        student(clips)  # the filters of the resampler move to the device once
        device.waits.clear()
        student(clips)
        assert not device.waits
