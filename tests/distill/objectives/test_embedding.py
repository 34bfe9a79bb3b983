"""Imitating embeddings: several teachers, standardised targets, frames."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.sampling.clusters import Clustering
from distill.data.store.texts import Texts
from distill.losses import LOSSES, build_loss
from distill.objectives.embedding import EmbeddingDistillation
from distill.objectives.parts.augmentation import Augmentation, draw_mixup
from tests.conftest import GOLDEN
from tests.distill.commands.test_fit import fit
from tests.own_parts import Loudness, TinyConvolution

RECIPES = Path(__file__).parents[3] / "experiments" / "ssondo"

BEATS_FILE = str(GOLDEN / "beats" / "beats_tiny_finetuned.pt")


def batch(clips: int = 4, samples: int = 32_000) -> AudioBatch:
    return AudioBatch.of(torch.randn(clips, samples) * 0.1, 16_000)


def clustering(ids: Sequence[str], clusters: int) -> Clustering:
    """Return clips that are in the clusters 0, 1, ... in turn."""
    return Clustering(
        Texts.of(ids), np.arange(len(ids), dtype=np.int32) % clusters, np.zeros((clusters, 2), np.float32), 0.0
    )


def test_each_teacher_has_its_loss_its_projector_and_its_weight() -> None:
    teachers = {"one": Loudness(bands=4), "two": distill.create_teacher("spectral")}
    objective = EmbeddingDistillation(TinyConvolution(), teachers, weights={"two": 0.25})
    losses = objective(batch())
    assert list(losses) == ["one", "two"]
    expected = losses["one"] + 0.25 * losses["two"]
    torch.testing.assert_close(objective.total(losses), expected)
    sizes = [imitation.projector.out_features for imitation in objective.imitations.values()]
    assert sizes == [4, 280]


def test_with_several_teachers_the_scale_of_one_does_not_change_its_weight() -> None:
    class Loud(Loudness):
        def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
            return distill.Embeddings.of_clip(super().encode(batch).clip * 1000)

    teachers = {"soft": Loudness(bands=4), "loud": Loud(bands=4)}
    data = batch(16)
    for targets, ratio in (("raw", 1e5), ("standardised", 1.5), ("auto", 1.5)):
        torch.manual_seed(0)
        losses = EmbeddingDistillation(TinyConvolution(), teachers, loss="mse", targets=targets)(data)
        larger = max(losses.values()) / min(losses.values())
        assert (larger > ratio) == (targets == "raw")


def test_the_default_of_earlier_versions_is_raw_with_one_teacher() -> None:
    one, two = {"one": Loudness()}, {"one": Loudness(), "two": Loudness()}
    for targets, teachers, normalised in (("auto", one, False), ("auto", two, True), ("standardised", one, True)):
        objective = EmbeddingDistillation(TinyConvolution(), teachers, targets=targets)
        assert [imitation.normalise is not None for imitation in objective.imitations.values()] == (
            [normalised] * len(teachers)
        )


def test_frames_are_compared_where_both_have_them() -> None:
    student = distill.create_student("mobilenet_v3", width=0.1)
    objective = EmbeddingDistillation(student, {"spectral": distill.create_teacher("spectral")}, level="frame")
    clips = AudioBatch.of(torch.randn(2, 48_000) * 0.1, 16_000, torch.tensor([48_000, 20_000]))
    alone = AudioBatch.of(clips.waveform[1:, :20_000], 16_000)
    objective.eval()
    imitation, teacher = objective.imitations["spectral"], objective.teachers["spectral"]
    both = imitation._pair(student(clips), teacher(clips))
    one = imitation._pair(student(alone), teacher(alone))
    torch.testing.assert_close(both[0][-len(one[0]) :], one[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[1][-len(one[1]) :], one[1], atol=1e-4, rtol=1e-4)
    objective.total(objective(clips)).backward()


@pytest.mark.parametrize("level", ["clip", "frame"])
@pytest.mark.parametrize("loss", LOSSES.names())
def test_every_loss_takes_mixed_clips_several_teachers_and_frames(loss: str, level: str) -> None:
    teachers = {
        "one": distill.create_teacher("spectral"),
        "two": distill.create_teacher("beats", checkpoint=BEATS_FILE),
    }
    student = distill.create_student("mobilenet_v3", width=0.1)
    augmentation = Augmentation(mixup=1.0)
    objective = EmbeddingDistillation(student, teachers, loss, level, augmentation=augmentation, dropout=0.0).train()
    lengths = torch.tensor([40_000, 40_000, 40_000, 25_000, 33_000, 40_000])
    clips = AudioBatch.of(torch.randn(6, 40_000) * 0.1, 16_000, lengths)
    objective.clusters = clustering(clips.ids, 3)
    losses = objective(clips)
    assert list(losses) == ["one", "two"]
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    objective.total(losses).backward()
    gradients = {name: parameter.grad for name, parameter in objective.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "frames"}, "clip, frame"),
        ({"level": "frame"}, "teacher embeds whole clips"),
        ({"targets": "white"}, "raw, standardised"),
        ({"weights": {"loudnes": 1.0}}, "did you mean 'loudness'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    student = distill.create_student("mobilenet_v3", width=0.1)
    with pytest.raises(UserError, match=message):
        EmbeddingDistillation(student, {"loudness": Loudness()}, **options)  # type: ignore[arg-type]


def test_mixup_mixes_sounds_and_targets_alike() -> None:
    teacher = Loudness(bands=4)
    objective = EmbeddingDistillation(
        TinyConvolution(), {"one": teacher}, loss="mse", targets="raw", augmentation=Augmentation(1.0)
    )
    data = batch(6)
    torch.manual_seed(3)
    loss = objective(data)["one"]
    torch.manual_seed(3)
    partners, shares = draw_mixup(6, 1.0)
    assert float(shares.min()) >= 0.5
    mixed = data.waveform * shares.unsqueeze(1) + data.waveform[partners] * (1 - shares.unsqueeze(1))
    clip = teacher(data).clip
    target = clip * shares.unsqueeze(1) + clip[partners] * (1 - shares.unsqueeze(1))
    prediction = objective.imitations["one"].projector(objective.student(AudioBatch.of(mixed, 16_000)).clip)
    torch.testing.assert_close(loss, (prediction - target).square().mean())
    objective.eval()
    assert objective(data)["one"].item() == objective(data)["one"].item()  # nothing is drawn in evaluation


def test_a_live_teacher_can_have_the_mixed_input() -> None:
    options: dict[str, Any] = {"loss": "mse", "augmentation": {"mixup": 1.0}, "dropout": 0.0}
    losses = []
    for teacher_input in ("clean", "same"):
        torch.manual_seed(0)
        objective = EmbeddingDistillation(
            TinyConvolution(), {"one": Loudness()}, teacher_input=teacher_input, **options
        )
        torch.manual_seed(1)
        losses.append(objective(batch(6))["one"].item())
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "objective",
    [
        {"loss": "hybrid"},
        {"loss": {"class_path": "contrastive", "init_args": {"temperature": 0.2, "learned": True}}},
        {"loss": "cluster_aware", "level": "frame"},
        {"loss": "relational", "targets": "whitened", "augmentation": {"mixup": 0.3}},
        {"loss": "queue_kl", "targets": "phi_s"},
        {"loss": "decoupled", "targets": "standardised", "level": "frame", "augmentation": {"mixup": 0.3}},
    ],
)
def test_every_kind_of_loss_trains(objective: dict[str, Any], sounds: Callable[..., Path], tmp_path: Path) -> None:
    sizes = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}
    parts = {
        "student": {"class_path": "hear", "init_args": sizes},
        "objective": {"class_path": "embedding", "init_args": objective},
    }
    fit(sounds(12, seconds=0.8), tmp_path / "run", epochs=2, sampling=distill.Sampling(clusters=3), **parts)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert all(np.isfinite(float(row["loss"])) for row in csv.DictReader(file) if row["loss"])


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"loss": "hybrid"}, "clusters are made from the teacher's stored embeddings"),
        ({"targets": "whitened"}, "whitened targets are made from"),
        ({"targets": "phi_s"}, "phi_s targets are made from"),
        ({"loss": {"class_path": "queue_kl", "init_args": {"size": -1}}}, "size -1"),
        ({"loss": {"class_path": "contrastive", "init_args": {"temperature": 0.0}}}, "temperature 0"),
        ({"loss": {"class_path": "contrastve"}}, "did you mean 'contrastive'"),
    ],
)
def test_what_a_loss_cannot_have(
    objective: dict[str, Any], message: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        fit(sounds(8), tmp_path / "run", live=True, objective={"class_path": "embedding", "init_args": objective})


def test_a_projector_is_one_layer_or_that_of_the_paper() -> None:
    linear, mlp = (
        EmbeddingDistillation(TinyConvolution(), {"one": Loudness(bands=4)}, **options).imitations["one"].projector
        for options in ({}, {"projector": "mlp", "hidden": 12})
    )
    assert isinstance(linear, torch.nn.Linear)
    assert linear.weight.shape == (4, 8)
    kinds = [torch.nn.Linear, torch.nn.Hardswish, torch.nn.Dropout, torch.nn.Linear]
    assert [type(layer) for layer in mlp] == kinds
    assert (mlp[0].weight.shape, mlp[3].weight.shape) == ((12, 8), (4, 12))
    with pytest.raises(UserError, match=r"objective\.projector 'cubic'"):
        EmbeddingDistillation(TinyConvolution(), {"one": Loudness()}, projector="cubic")


@pytest.mark.parametrize(("name", "options"), [("kl", {"temperature": 0.1}), ("other_clusters", {})])
def test_a_loss_is_of_the_prediction_and_then_of_the_target(name: str, options: dict[str, Any]) -> None:
    student, teacher, clips = TinyConvolution(), Loudness(bands=5), batch(4)
    spec = {"class_path": name, "init_args": options}
    objective = EmbeddingDistillation(student, {"one": teacher}, spec, targets="raw").eval()
    objective.clusters = clustering(clips.ids, 2)
    clusters = (torch.tensor([0, 1, 0, 1]),) if objective.needs_clusters else ()
    prediction, target = objective.imitations["one"].projector(student(clips).clip), teacher(clips).clip
    loss = build_loss(spec)
    expected, exchanged = loss(prediction, target, *clusters), loss(target, prediction, *clusters)
    assert not torch.allclose(expected, exchanged, rtol=1e-3, atol=0)
    torch.testing.assert_close(objective(clips)["one"], expected, rtol=1e-5, atol=0)


def observed(objective: EmbeddingDistillation, clips: AudioBatch, mode: bool = False) -> dict[str, float]:
    objective.train(mode)(clips)
    return objective.observed


def test_each_batch_shows_how_much_of_each_teacher_is_explained() -> None:
    one = EmbeddingDistillation(TinyConvolution(), {"one": Loudness()})
    assert observed(one, batch(), mode=True).keys() == {"mean_cosine", "effective_rank"}  # no target is known yet
    assert observed(one, batch()).keys() == {"explained", "mean_cosine", "effective_rank"}
    two = EmbeddingDistillation(TinyConvolution(), {"one": Loudness(), "two": Loudness(bands=4)}, "contrastive")
    found = observed(two, batch())
    assert found.keys() == {"recall", "recall_one", "recall_two", "mean_cosine", "effective_rank"}
    assert found["recall"] == pytest.approx((found["recall_one"] + found["recall_two"]) / 2)
    assert observed(two, batch(1)).keys() == {"recall", "recall_one", "recall_two"}  # one clip has no pair


def test_a_student_equal_to_its_teacher_explains_all_and_a_constant_one_nothing() -> None:
    class Same(distill.Student):
        sample_rate = 16_000

        def __init__(self, share: float) -> None:
            super().__init__()
            self.teacher, self.share = Loudness(), torch.nn.Parameter(torch.tensor(share))

        def encode(self, batch: AudioBatch) -> distill.Embeddings:
            return distill.Embeddings.of_clip(self.teacher.encode(batch).clip * self.share)

    quiet, loud = batch(16), batch(16)
    data = quiet.with_waveform(torch.cat([quiet.waveform[:8], loud.waveform[8:] * torch.rand(8, 1)]))
    for share, explained, cosine in ((1.0, 1.0, None), (0.0, 0.0, 0.0)):
        objective = EmbeddingDistillation(Same(share), {"one": Loudness()}, "mse", targets="raw")
        observed(objective, data, mode=True)
        projector = objective.imitations["one"].projector
        with torch.no_grad():
            projector.weight.copy_(torch.eye(3))
            projector.bias.copy_(Loudness()(data).clip.mean(0) * (1 - share))
        found = observed(objective, data)
        assert found["explained"] == pytest.approx(explained, abs=1e-5)
        assert cosine is None or found["mean_cosine"] == cosine


def test_the_constant_is_that_of_the_store_and_not_of_the_batch(sounds: Callable[..., Path], tmp_path: Path) -> None:
    distill.embed(str(sounds(12)), str(tmp_path / "store"), teacher="spectral", workers=0)
    teacher = distill.Precomputed(tmp_path / "store")
    vectors = torch.from_numpy(teacher.store.read_all()).float()
    objective = EmbeddingDistillation(TinyConvolution(), {"one": teacher}, "mse", targets="raw")
    clips = AudioBatch.of(torch.randn(3, 8000), 16_000)
    clips = replace(clips, ids=tuple(teacher.store.ids[:3]))
    for mode in (True, False):  # training does not change it
        loss = objective.train(mode)(clips)["one"].item()
        yardstick = float((vectors[:3] - vectors.mean(0)).square().mean())
        assert objective.observed["explained"] == pytest.approx(1 - loss / yardstick, rel=1e-4)


def test_measurements_are_columns_of_the_metrics(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(12), tmp_path / "run")
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        columns = set(next(csv.reader(file)))
    measured = {"explained", "mean_cosine", "effective_rank"}
    assert measured | {f"validation_{name}" for name in measured} <= columns


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_the_paper_have_raw_targets_and_its_projector(recipe: Path) -> None:
    options = yaml.safe_load(recipe.read_text())["objective"]["init_args"]
    imitation = EmbeddingDistillation(TinyConvolution(), {"one": Loudness()}, **options).imitations["one"]
    assert imitation.normalise is None
    assert imitation.loss is build_loss("cosine")
    assert imitation.projector[0].out_features == 1280
    assert imitation.projector[2].p == 0.2
