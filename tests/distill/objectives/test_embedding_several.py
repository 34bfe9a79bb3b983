"""Several specialised teachers: weights by domain, dropped teachers, and their targets and losses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import distill
from distill.cli.shell import main
from distill.data.batch import AudioBatch
from distill.data.clips.dataset import Loaded
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.losses import LOSSES, build_loss
from distill.objectives.embedding import EmbeddingDistillation
from distill.objectives.parts.imitation import row_losses
from distill.teachers.precomputed import Precomputed
from distill.training.distiller import Distiller
from distill.training.optimizer import Optimizer
from distill.training.world import World
from tests.own_parts import Loudness, TinyConvolution

DOMAINS = {"low": "one", "high": "two"}
BY_ROWS = [name for name in LOSSES.names() if getattr(build_loss(name), "averages_rows", False)]


def batch(clips: int = 6) -> AudioBatch:
    torch.manual_seed(1)
    ids = tuple(f"{place}.wav" for place in range(clips))
    return replace(AudioBatch.of(torch.randn(clips, 16_000) * torch.rand(clips, 1), 16_000), ids=ids)


def manifest(*domains: str) -> Manifest:
    return Manifest(Path("x"), [Row(f"{place}.wav", Path("x"), domain=name) for place, name in enumerate(domains)])


def objective(level: str = "clip", loss: str = "mse", **options: Any) -> EmbeddingDistillation:
    torch.manual_seed(0)
    teachers: dict[str, distill.Teacher] = {"one": Loudness(bands=4), "two": distill.create_teacher("spectral")}
    student = distill.create_student("cnn", width=0.3) if level == "frame" else TinyConvolution()
    if level == "frame":
        teachers["one"] = distill.create_teacher("mel")
    return EmbeddingDistillation(student, teachers, loss, level, targets="raw", **options)


def test_the_losses_that_average_rows_are_known() -> None:
    assert BY_ROWS == ["cosine", "cosine_smooth_l1", "kl", "l1", "mse", "smooth_l1"]


@pytest.mark.parametrize("name", BY_ROWS)
def test_such_a_loss_is_the_mean_of_its_rows(name: str) -> None:
    loss, prediction = build_loss(name), torch.randn(5, 7, requires_grad=True)
    target = torch.randn(5, 7)
    rows = row_losses(loss, prediction, target)
    slow = torch.stack([loss(prediction[place : place + 1], target[place : place + 1]) for place in range(5)])
    torch.testing.assert_close(rows, slow)
    torch.testing.assert_close(rows.mean(), loss(prediction, target))
    gradients = [torch.autograd.grad(value, prediction)[0] for value in (rows.mean(), loss(prediction, target))]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_unknown_domains_give_each_teacher_its_share(level: str) -> None:
    data = batch()
    plain, weighted = objective(level).eval(), objective(level, domains=DOMAINS).eval()
    weighted.read_clips(manifest("", "", "low"))
    data = replace(data, ids=("0.wav", "1.wav", "a", "b", "c", "d"))
    for name, loss in plain(data).items():
        torch.testing.assert_close(weighted(data)[name], loss / 2)
    assert weighted.observed == pytest.approx(plain.observed)


@pytest.mark.parametrize("loss", ["mse", "cosine", "cosine_smooth_l1"])
def test_a_clip_of_a_domain_weighs_its_teacher_ten_elevenths(loss: str) -> None:
    data, part = batch(3), objective(loss=loss, domains=DOMAINS).eval()
    part.read_clips(manifest("low", "high", ""))
    singles = [AudioBatch.of(data.waveform[place : place + 1], 16_000) for place in range(3)]
    alone = [objective(loss=loss).eval()(single) for single in singles]
    expected = {
        "one": (10 / 11 * alone[0]["one"] + 1 / 11 * alone[1]["one"] + alone[2]["one"] / 2) / 3,
        "two": (1 / 11 * alone[0]["two"] + 10 / 11 * alone[1]["two"] + alone[2]["two"] / 2) / 3,
    }
    for name, value in part(data).items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("options", [{"domains": DOMAINS}, {"teacher_dropping": 0.5}])
def test_the_mean_does_not_depend_on_the_division_among_processes(options: dict[str, Any]) -> None:
    def gradient(parts: list[slice]) -> Tensor:
        """Return the mean gradient of processes that have the clips of `parts`, as DDP averages it."""
        found, data = [], batch()
        for part in parts:
            trained = objective(**options)
            trained.read_clips(manifest("low", "high", "", "low", "low", "high"))
            module = Distiller(trained, Optimizer(), 10, world=World(size=len(parts)))
            module.clips = len(data)
            clips = AudioBatch(data.waveform[part], data.lengths[part], 16_000, data.ids[part], data.labels[part])
            loss = module.training_step(Loaded(clips, ()), 0)
            assert loss is not None
            loss.backward()
            found.append(torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None]))
        return torch.stack(found).mean(0)

    torch.testing.assert_close(gradient([slice(0, 6)]), gradient([slice(0, 4), slice(4, 6)]))


def test_dropping_keeps_the_higher_of_two_losses_of_each_clip() -> None:
    data = batch()
    data = replace(data, waveform=data.waveform * torch.tensor([[1e-3], [1], [1e-3], [1], [1], [1]]))
    with torch.no_grad():
        clips = [AudioBatch.of(row.unsqueeze(0), 16_000) for row in data.waveform]
        alone = [torch.stack(list(objective(loss="cosine")(clip).values())) for clip in clips]
        found = objective(loss="cosine", teacher_dropping=1.0)(data)
    highest = torch.stack(alone).argmax(1)
    assert set(highest.tolist()) == {0, 1}
    for place, value in enumerate(found.values()):
        kept = [losses[place] for losses, own in zip(alone, highest.tolist(), strict=True) if own == place]
        torch.testing.assert_close(value, torch.stack(kept).sum() / 6)


def test_steps_draw_anew() -> None:
    part, data = objective(teacher_dropping=0.5), batch()
    first = part(data)
    assert part(data)["one"] == first["one"]
    part.after_step(1)
    assert part(data)["one"] != first["one"]
    assert int(part.state_dict()["clip_weights.step"]) == 1
    assert not any(name.startswith("clip_weights") for name in objective().state_dict())  # as in earlier versions


@pytest.mark.parametrize("options", [{"domains": DOMAINS}, {"teacher_dropping": 0.5}])
def test_a_loss_that_compares_clips_has_no_weights_by_clip(options: dict[str, Any]) -> None:
    for loss in ("queue_kl", {"class_path": "contrastive", "init_args": {"temperature": 0.1}}, "relational"):
        with pytest.raises(UserError, match=r"--objective\.loss .*: not a mean over clips .* use cosine"):
            objective(loss=loss, **options)  # type: ignore[arg-type]


def test_phi_s_and_the_balanced_loss_with_several_stored_teachers(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, teachers = str(sounds(12)), {}
    for name in ("spectral", "mel"):
        distill.embed(data, str(tmp_path / name), teacher=name, workers=0)
        teachers[name] = Precomputed(tmp_path / name)
    part = EmbeddingDistillation(TinyConvolution(), teachers, "cosine_smooth_l1", targets="phi_s", domains=DOMAINS_OF)
    for name, teacher in teachers.items():
        stored = torch.from_numpy(teacher.sample(12, False))
        targets = part.imitations[name].normalise(stored)
        torch.testing.assert_close(targets.mean(0), torch.zeros(teacher.clip_dim), atol=1e-4, rtol=0)
        torch.testing.assert_close(targets.var(0, correction=0), torch.ones(teacher.clip_dim), atol=1e-3, rtol=0)
        distances = [torch.cdist(vectors, vectors) for vectors in (stored.double(), targets.double())]
        scale = distances[1].sum() / distances[0].sum()  # one scale: no distance changes beside the others
        torch.testing.assert_close(distances[1], distances[0] * scale, atol=1e-3, rtol=1e-3)
    ids = tuple(teachers["mel"].store.ids[:6])
    part.total(part(replace(batch(), ids=ids))).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in part.parameters())


DOMAINS_OF = {"low": "spectral", "high": "mel"}
WORDS = ["--student", "tests.own_parts.TinyConvolution", "--epochs=2", "--batch_size=4", "--validation=0.3",
         "--engine.workers=0", "--engine.accelerator=cpu", "--teacher+=spectral", "--teacher+=mel"]  # fmt: skip


def table(folder: Path, domains: tuple[str, ...]) -> Path:
    files = sorted(folder.rglob("*.wav"))
    lines = [f"{path.relative_to(folder)},{domains[place % len(domains)]}" for place, path in enumerate(files)]
    (folder / "clips.csv").write_text("path,domain\n" + "\n".join(lines) + "\n")
    return folder / "clips.csv"


def test_specialists_from_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = table(sounds(12), ("low", "high", "")), tmp_path / "run"
    by_domain = ["--objective.domains", '{"low": "spectral", "high": "mel"}', "--objective.teacher_dropping=0.5"]
    main(["fit", *WORDS, *by_domain, "--data", str(data), "--out", str(run)])
    assert "domains: high 4, low 4" in capsys.readouterr().out
    with open(run / "metrics.csv", newline="") as file:
        last = [row for row in csv.DictReader(file) if row["loss"]][-1]
    assert float(last["spectral"]) + float(last["mel"]) == pytest.approx(float(last["loss"]), rel=1e-4)
    main(["fit", "--config", str(run / "config.yaml"), "--out", str(tmp_path / "again")])
    first, again = (distill.load(str(folder)).state_dict() for folder in (run, tmp_path / "again"))
    assert all(tensor.equal(again[key]) for key, tensor in first.items())


@pytest.mark.parametrize(
    ("domains", "option", "line"),
    [
        (("low", "hihg"), '{"low": "spectral", "high": "mel"}', "no teacher for the domain 'hihg' in"),
        (("low", "high"), '{"low": "spectral", "high": "mell"}', "'high' names no teacher 'mell'"),
    ],
)
def test_a_domain_without_a_teacher_ends_the_run_before_it_embeds(
    domains: tuple[str, ...], option: str, line: str, sounds: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data, run = table(sounds(4), domains), tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main(["fit", *WORDS, "--objective.domains", option, "--data", str(data), "--out", str(run)])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert len(printed.strip().splitlines()) == 1
    assert not run.exists()


def test_a_resumed_run_draws_the_same_teachers(sounds: Callable[..., Path], tmp_path: Path) -> None:
    constant = [
        "--optimizer.schedule=constant",
        "--optimizer.warmup=0",
    ]  # the rate of a step, whatever the last step is
    words = [*WORDS[:2], *WORDS[3:], *constant, "--objective.teacher_dropping=0.5", "--data", str(sounds(12))]
    main(["fit", *words, "--epochs=3", "--out", str(tmp_path / "whole")])
    main(["fit", *words, "--epochs=1", "--out", str(tmp_path / "parts")])
    main(["fit", "--resume", "--epochs=3", "--out", str(tmp_path / "parts")])
    whole, parts = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("whole", "parts"))
    assert all(tensor.equal(parts[key]) for key, tensor in whole.items())
