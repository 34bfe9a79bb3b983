"""HEAR's three stages: losses and gradients against the official code, what it got wrong, and the pipeline."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

import distill
from distill.cli.shell import main
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.objectives.masked import MaskedTokenPrediction
from distill.objectives.parts.masking import draw_mask, official_mask
from distill.objectives.parts.quantizer import GumbelQuantizer
from distill.objectives.tokenizer import TokenizerDistillation
from distill.students.hear.official import from_official_blocks, to_official_acoustic, to_official_blocks
from distill.students.hear.students import Hear, HearTokenizer
from distill.students.saved import save_student
from distill.teachers.teacher import Teacher
from tests.conftest import GOLDEN, tone
from tests.students.hear.golden import OVERLAP, TINY, inputs, outputs, waveform


class Told(Teacher):
    """Says what it was told, every 20 ms."""

    sample_rate = 16_000

    def __init__(self, frames: Tensor) -> None:
        super().__init__()
        self.frames = frames

    def encode(self, batch: AudioBatch) -> Embeddings:
        frames = self.frames[: len(batch)]
        times = 0.0175 + 0.02 * torch.arange(frames.shape[1])
        return Embeddings.of_frames(frames, times, torch.ones(frames.shape[:2], dtype=torch.bool))


def batch() -> AudioBatch:
    return AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"])


@pytest.fixture
def stage1() -> TokenizerDistillation:
    """The tiny golden framework, its official weights under our names."""
    file = TINY / "tokenizer_framework.state_dict.safetensors"
    student = HearTokenizer(checkpoint=str(file), overlap=OVERLAP, official=True)
    objective = TokenizerDistillation(
        student, {"ssast": Told(inputs()["teacher"])}, alignment="index", code_dim=8, hidden=20, intermediate=40,
        heads=2, layers=1,
    )  # fmt: skip
    state = load_file(file)
    blocks = {key.removeprefix("decoder."): t for key, t in state.items() if key.startswith("decoder.layers.")}
    objective.decoder.load_state_dict(
        {key.removeprefix("layers."): tensor for key, tensor in from_official_blocks(blocks).items()}
    )
    for name, module in official_parts(objective).items():
        module.load_state_dict({part: state[f"{name}.{part}"] for part in module.state_dict()})
    objective.quantizer.codebook.data = state["vector_quantizer.code_book"][0]
    return objective.eval()


def official_parts(objective: TokenizerDistillation) -> dict[str, nn.Module]:
    return {
        "decoder.out_layer.linear": objective.shared[0], "decoder.out_layer.layer_norm": objective.shared[2],
        "decoder.out_layer.out_linear": objective.to_mel,
        "decoder.out_layer.out_linear2": objective.to_teacher["ssast"],
        "vector_quantizer.linear": objective.quantizer.project,
    }  # fmt: skip


def official_gradients(objective: TokenizerDistillation) -> dict[str, Tensor]:
    """Gradients by the official keys."""
    student = objective.student
    acoustic = {name: p.grad for name, p in student.acoustic.named_parameters() if p.grad is not None}
    found = {f"tokenizer.encoder.{key}": tensor for key, tensor in to_official_acoustic(acoustic).items()}
    found |= {f"tokenizer.linear.{name}": p.grad for name, p in student.to_codes.named_parameters()}
    blocks = {f"layers.{name}": p.grad for name, p in objective.decoder.named_parameters()}
    found |= {f"decoder.{key}": tensor for key, tensor in to_official_blocks(blocks).items()}
    for stem, module in official_parts(objective).items():
        found |= {f"{stem}.{name}": p.grad for name, p in module.named_parameters()}
    return found | {"vector_quantizer.code_book": objective.quantizer.codebook.grad.unsqueeze(0)}


@pytest.mark.parametrize("temperature", ["2.0", "0.5"])
def test_stage_one_equals_the_official_code(temperature: str, stage1: TokenizerDistillation) -> None:
    stage1.quantizer.temperature.fill_(float(temperature))
    losses = stage1(batch(), noise=inputs()["vq.gumbel"])
    raw = torch.stack([losses[name] for name in ("reconstruction", "ssast", "diversity")])
    torch.testing.assert_close(raw.detach(), outputs()[f"stage1.losses_raw.tau{temperature}"], atol=1e-5, rtol=1e-4)
    total = stage1.total(losses)
    weighted = outputs()[f"stage1.losses_weighted.tau{temperature}"]
    torch.testing.assert_close(total.detach(), weighted.sum(), atol=1e-5, rtol=1e-4)
    total.backward()
    found = official_gradients(stage1)
    stem = f"stage1.grad.tau{temperature}."
    golden = {key.removeprefix(stem): tensor for key, tensor in outputs().items() if key.startswith(stem)}
    assert len(golden) > 60
    for key, expected in golden.items():
        gradient = found[key] if expected.dim() else found[key].norm()
        torch.testing.assert_close(gradient, expected.float(), atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


def test_the_quantizer_equals_the_official_one(stage1: TokenizerDistillation) -> None:
    logits, noise = outputs()["tok.logits"], inputs()["vq.gumbel"]
    inside = torch.arange(50) < outputs()["tok.lengths"].unsqueeze(1)
    quantized = stage1.quantizer(logits, inside, noise)
    assert quantized.codes.equal(outputs()["vq.index"])
    torch.testing.assert_close(quantized.vectors.detach(), outputs()["vq.quantized"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(quantized.diversity, outputs()["vq.diversity_raw"], atol=1e-7, rtol=1e-4)
    stage1.after_step(1)
    assert float(stage1.quantizer.temperature) == pytest.approx(float(outputs()["vq.temperature_after_one_update"]))


def test_the_temperature_is_saved_and_cools_to_a_half() -> None:
    quantizer, again = GumbelQuantizer(4, 2, 3), GumbelQuantizer(4, 2, 3)
    quantizer.cool(1000)
    again.load_state_dict(quantizer.state_dict())
    assert float(again.temperature) == pytest.approx(2.0 * 0.999995**1000)
    quantizer.cool(277_259)
    assert float(quantizer.temperature) == 0.5


def test_evaluation_of_stage_one_draws_no_noise(stage1: TokenizerDistillation) -> None:
    first, second = (stage1.total(stage1(batch())) for _ in range(2))
    assert first.equal(second)
    stage1.train()
    assert not stage1.total(stage1(batch())).equal(stage1.total(stage1(batch())))


@pytest.fixture
def stage2() -> MaskedTokenPrediction:
    file = TINY / "pretrain_framework.state_dict.safetensors"
    student = Hear(checkpoint=str(file), overlap=OVERLAP, official=True)
    tokenizer = HearTokenizer(checkpoint=str(file), overlap=OVERLAP, official=True)
    objective = MaskedTokenPrediction(student, tokenizer)
    state = load_file(file)
    objective.to_codes.load_state_dict({name: state[f"out_linear.{name}"] for name in ("weight", "bias")})
    return objective.eval()


def test_stage_two_equals_the_official_code_as_it_was_meant(stage2: MaskedTokenPrediction) -> None:
    tokens = stage2.student.tokens(batch())
    assert tokens.lengths.equal(outputs()["mam.lengths"].long())
    torch.testing.assert_close(tokens.features.detach(), outputs()["mam.features"], atol=1e-4, rtol=1e-4)
    hidden = inputs()["mam.mask"]
    assert stage2.tokenizer.tokenize(batch())[0][hidden].equal(outputs()["mam.labels"][hidden])
    loss = stage2.score(batch(), tokens, hidden)["masked_tokens"]
    torch.testing.assert_close(loss.detach(), outputs()["mam.intended.loss"], atol=1e-5, rtol=1e-4)
    loss.backward()
    acoustic = {name: p.grad for name, p in stage2.student.acoustic.named_parameters() if p.grad is not None}
    found = {f"encoder.{key}": tensor for key, tensor in to_official_acoustic(acoustic).items()}
    found |= {f"out_linear.{name}": p.grad for name, p in stage2.to_codes.named_parameters()}
    stem = "mam.intended.grad."
    golden = {key.removeprefix(stem): tensor for key, tensor in outputs().items() if key.startswith(stem)}
    assert len(golden) > 40
    for key, expected in golden.items():
        gradient = found[key] if expected.dim() else found[key].norm()
        torch.testing.assert_close(gradient, expected.float(), atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


def test_stage_two_equals_the_official_code_as_it_is(stage2: MaskedTokenPrediction) -> None:
    stage2.official = True
    tokens = stage2.student.tokens(batch())
    tokens = tokens._replace(lengths=tokens.lengths // 2)
    hidden = official_mask(inputs()["mam.official.noise"], tokens.lengths, 0.4)
    assert hidden.equal(outputs()["mam.official.mask"])
    loss = stage2.score(batch(), tokens, hidden)["masked_tokens"]
    torch.testing.assert_close(loss.detach(), outputs()["mam.official.loss"], atol=1e-5, rtol=1e-4)
    loss.backward()
    assert stage2.student.acoustic.conv.weight.grad is None


class TestWhatTheOfficialCodeGotWrong:
    """Each of these fails with the official behaviour."""

    def test_the_convolution_learns(self, stage2: MaskedTokenPrediction) -> None:
        stage2(batch())["masked_tokens"].backward()
        assert stage2.student.acoustic.conv.weight.grad.abs().sum() > 0

    def test_the_share_is_the_share_and_padding_is_not_scored(self) -> None:
        lengths = torch.tensor([4000, 1500])
        noise = torch.randn(2, 4000)
        wrong, right = official_mask(noise, lengths, 0.4), draw_mask("random", lengths, 4000, 0.4)
        assert float(wrong[0].float().mean()) == pytest.approx(0.655, abs=0.03)
        assert float(right[0].float().mean()) == pytest.approx(0.4, abs=0.03)
        assert wrong[1, 1500:].any()
        assert not right[1, 1500:].any()

    def test_labels_do_not_change_under_training_mode(self, stage2: MaskedTokenPrediction) -> None:
        before = stage2.tokenizer.tokenize(batch())[0]
        stage2.train()
        assert stage2.tokenizer.tokenize(batch())[0].equal(before)
        trained = {id(parameter) for parameter in stage2.parameters()}
        assert not any(id(parameter) in trained for parameter in stage2.tokenizer.parameters())
        assert not any(module.training for module in stage2.tokenizer.modules())

    def test_the_second_half_of_a_clip_is_heard(self, stage2: MaskedTokenPrediction) -> None:
        tokens = stage2.student.tokens(batch())
        assert tokens.lengths.equal((inputs()["len_short"] // 160 + 1) // 2)
        assert batch().lengths.equal(inputs()["len_short"])

    def test_no_tensor_of_tokens_times_codes_times_dim(self) -> None:
        quantizer = GumbelQuantizer(1024, 32, 128)
        logits = torch.randn(1, 300, 1024, requires_grad=True)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            quantizer(logits, torch.ones(1, 300, dtype=torch.bool)).vectors.sum().backward()
        assert max(sizes) <= 300 * 1024


SMALL = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}
HERE = ["--engine.workers=0", "--engine.accelerator=cpu", "--batch_size=4", "--epochs=1"]


def options(component: str, values: dict[str, Any]) -> list[str]:
    return [f"--{component}.{name}={value}" for name, value in values.items()]


def test_the_three_stages_from_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(12, classes=3, seconds=1.0))
    tokenizer = ["--objective", "tokenizer", *options("objective", {**SMALL, "code_dim": 4})]
    student = ["--student", "hear_tokenizer", *options("student", {**SMALL, "codes": 32})]
    beats = ["--teacher+=beats", f"--teacher.checkpoint={GOLDEN / 'beats' / 'beats_tiny_finetuned.pt'}"]
    ssast = [
        "--teacher+=ssast",
        f"--teacher.checkpoint={GOLDEN / 'ssast' / 'ssast_tiny_frame.pth'}",
        "--teacher.heads=4",
    ]
    main(["fit", *beats, *ssast, *student, *tokenizer, *HERE, "--live", "--data", data, "--out", str(tmp_path / "tok")])
    with open(tmp_path / "tok" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["loss"]][-1]
    parts = 0.3 * float(last["reconstruction"]) + 0.35 * (float(last["beats"]) + float(last["ssast"]))
    assert float(last["loss"]) == pytest.approx(parts + 0.1 * float(last["diversity"]), rel=1e-3)
    assert float(last["perplexity"]) >= 1
    pictures = tmp_path / "tok" / "report"
    assert {path.name for path in pictures.iterdir()} == {
        "losses.png",
        "observed.png",
        "codes.png",
        "reconstruction.png",
    }
    (pictures / "codes.png").unlink()
    main(["report", "--run", str(tmp_path / "tok")])
    assert (pictures / "codes.png").stat().st_size > 0
    student = ["--student", "hear", *options("student", SMALL)]
    mam = ["--objective", "masked_prediction", f"--objective.tokenizer={tmp_path / 'tok'}"]
    main(["fit", *student, *mam, *HERE, "--data", data, "--out", str(tmp_path / "mam")])
    classifier = ["--student", "hear_classifier", f"--student.acoustic={tmp_path / 'mam'}", "--student.task_hidden=16"]
    words = ["--objective", "classification", *HERE, "--validation=0.4", "--data", data]
    main(["fit", *classifier, *words, "--out", str(tmp_path / "classifier")])
    printed = capsys.readouterr().out
    assert "validation accuracy" in printed
    loaded = distill.load(str(tmp_path / "classifier"))
    assert loaded.labels == ("class0", "class1", "class2")
    assert distill.create_teacher("frozen", student=str(tmp_path / "classifier")).labels == loaded.labels
    assert loaded.embed(torch.randn(16_000), 16_000).logits.shape == (1, 3)
    card = (tmp_path / "classifier" / "student" / "README.md").read_text()
    assert "| objective | classification" in card
    assert "of 3 classes, in the order of `student.labels`" in card


def test_a_fold_is_watched_and_not_trained_on(tmp_path: Path) -> None:
    rows = ["path,label,fold"]
    for index in range(12):
        soundfile.write(tmp_path / f"{index}.wav", tone(300 + 900 * (index % 2), 0.4, seed=index), 16_000)
        rows.append(f"{index}.wav,{'ab'[index % 2]},{index // 4}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    words = ["fit", "--student", "hear_classifier", *options("student", {**SMALL, "task_hidden": 16}), *HERE]
    words += ["--objective", "classification", "--data", str(tmp_path / "clips.csv"), "--out", str(tmp_path / "run")]
    main([*words, "--fold=2", "--batch_size=2"])
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        done = [row["batch"] for row in csv.DictReader(file) if row["loss"]]
    assert done == ["4"]  # 8 clips, and not 12
    with pytest.raises(SystemExit):
        main([*words, "--fold=9", "--overwrite"])


def fit_error(data: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        distill.fit(data=str(data), out=str(out), engine={"workers": 0, "accelerator": "cpu"}, **settings)
    return str(caught.value)


def test_what_does_not_go_together(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8, seconds=1.0)
    tiny = {"class_path": "hear_tokenizer", "init_args": {**SMALL, "codes": 8}}
    out = tmp_path / "run"
    assert "hear_tokenizer" in fit_error(data, out, student="mobilenet_v3", teacher="spectral", objective="tokenizer")
    assert "takes no teacher" in fit_error(data, out, student=tiny, teacher="spectral", objective="classification")
    assert "0 classes" in fit_error(data, out, student=tiny, objective="classification")
    mam = {"class_path": "masked_prediction", "init_args": {"tokenizer": str(data)}}
    assert "no trained student" in fit_error(
        data, out, student={"class_path": "hear", "init_args": SMALL}, objective=mam
    )


def test_stage_one_learns_and_saves_its_temperature(sounds: Callable[..., Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "data": str(sounds(8, seconds=0.6)),
        "student": {"class_path": "hear_tokenizer", "init_args": {**SMALL, "codes": 8}},
        "teacher": "spectral", "objective": {"class_path": "tokenizer", "init_args": {**SMALL, "code_dim": 4}},
        "live": True, "batch_size": 4, "validation": 0.0, "engine": {"workers": 0, "accelerator": "cpu"},
        "optimizer": {"learning_rate": 3e-3, "schedule": "constant"},
    }  # fmt: skip
    distill.fit(**settings, out=str(tmp_path / "whole"), epochs=30)
    with open(tmp_path / "whole" / "metrics.csv", newline="") as file:
        losses = [float(row["reconstruction"]) for row in csv.DictReader(file) if row["loss"]]
    assert losses[-1] < 0.8 * losses[0]
    checkpoint = torch.load(max((tmp_path / "whole" / "checkpoints").glob("*.ckpt")), weights_only=True)
    temperature = checkpoint["state_dict"]["objective.quantizer.temperature"]
    assert float(temperature) == pytest.approx(2.0 * 0.999995**60)


def test_reconstruction_counts_valid_frames_only() -> None:
    student = HearTokenizer(**SMALL, codes=8, dropout=0.0)
    told = Told(torch.randn(2, 60, 5))
    objective = TokenizerDistillation(student, {"told": told}, alignment="index", code_dim=4, **SMALL).eval()
    clips = AudioBatch.of(torch.randn(2, 16_000) * 0.1, 16_000, torch.tensor([16_000, 9_000]))
    losses = {name: loss.item() for name, loss in objective(clips).items()}
    mel, rebuilt = objective.reconstruct(clips)
    lengths = student.tokens(clips).lengths.tolist()
    errors = [((mel[b, : 2 * n] - rebuilt[b, : 2 * n]) ** 2).detach() for b, n in enumerate(lengths)]
    expected = np.concatenate([error.numpy().ravel() for error in errors]).mean()
    assert losses["reconstruction"] == pytest.approx(float(expected), rel=1e-4)
    assert 0 < losses["told"] < 2


def test_a_test_split_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label,split"]
    for index, split in enumerate(["training"] * 8 + ["validation"] * 3 + ["test"] * 5):
        soundfile.write(tmp_path / f"{index}.wav", tone(300 + 900 * (index % 2), 0.4, seed=index), 16_000)
        rows.append(f"{index}.wav,{'ab'[index % 2]},{split}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    words = ["fit", "--student", "hear_classifier", *options("student", {**SMALL, "task_hidden": 16}), *HERE]
    words += ["--objective", "classification", "--data", str(tmp_path / "clips.csv"), "--batch_size=2"]
    main([*words, "--out", str(tmp_path / "run")])
    assert "5 clips of the split 'test' are not used" in capsys.readouterr().out
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        done = [row["batch"] for row in csv.DictReader(file) if row["loss"]]
    assert done == ["4"]  # 8 clips; with those that are watched it were 5, with those of the test split 6


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[3] / "experiments").glob("*/*.yaml")), ids=str)
def test_every_recipe_builds(recipe: Path, sounds: Callable[..., Path], tmp_path: Path) -> None:
    """With the objective's tokenizer, the data and the teacher that a recipe leaves to the user."""
    config = yaml.safe_load(recipe.read_text())
    data = str(sounds(4, seconds=0.5))
    if "sampling" in config:
        config["sampling"]["clusters"] = 2  # of four clips
    words: dict[str, Any] = {**config, "data": data, "out": str(tmp_path / "run"), "task": "auto", "epochs": 1}
    words["engine"] = {"workers": 0, "accelerator": "cpu"}
    words["batch_size"] = 2
    if config["student"]["class_path"] == "patch_transformer":  # too large for two cores; its options stay
        words["student"]["init_args"] |= {"hidden": 32, "layers": 1, "heads": 2, "channels": [8, 8]}
    if config["objective"]["class_path"] == "masked_prediction":
        save_student(distill.create_student("hear_tokenizer", **SMALL, codes=8), tmp_path / "tok" / "student", "card")
        words["objective"]["init_args"]["tokenizer"] = str(tmp_path / "tok")
    if config["objective"]["class_path"] == "tokenizer" or "teacher" in config:
        words["teacher"] = "spectral"
    distill.fit(**words, dry_run=True)


def test_a_loss_between_frames_can_have_options_but_not_clusters() -> None:
    student = HearTokenizer(hidden=8, intermediate=8, heads=2, layers=1, codes=16)
    teachers = {"told": Told(torch.randn(2, 50, 6))}
    loss = {"class_path": "contrastive", "init_args": {"temperature": 0.5}}
    objective = TokenizerDistillation(student, teachers, loss=loss, hidden=8, heads=2)
    sounds = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    objective(sounds)["told"].backward()
    assert float(objective.loss.log_scale.exp()) == pytest.approx(2.0)
    assert objective.to_teacher["told"].weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="no clusters"):
        TokenizerDistillation(student, teachers, loss="hybrid", hidden=8, heads=2)
