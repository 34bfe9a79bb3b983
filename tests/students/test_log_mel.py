"""MobileNetV3, DyMN and ERes2Net against the official code of S-SONDO and EfficientAT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import distill
from distill.data.errors import UserError
from distill.students.dymn import DyMN
from distill.students.eres2net import ERes2Net, mean_and_deviation
from distill.students.log_mel import LogMelStudent
from distill.students.mobilenet_v3 import MobileNetV3
from tests.conftest import GOLDEN

TINY_OPTIONS: dict[str, dict[str, Any]] = {
    "dymn": {"width": 0.1},
    "eres2net": {"channels": 4},
    "mobilenet_v3": {"width": 0.1},
}


def official_state(name: str, statistics: str = "bnstats") -> dict[str, torch.Tensor]:
    """Return the weights of a golden model, by the recipe in tests/golden/ssondo/README.md."""
    folder = GOLDEN / "ssondo"
    stored = np.load(folder / f"model_{name}_{statistics}.npz")
    state = {}
    for line in (folder / f"keys_{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "affine":
            normal = np.random.RandomState(row["seed"]).standard_normal(row["shape"])
            state[row["key"]] = torch.from_numpy((row["scale"] * normal + row["offset"]).astype(np.float32))
        elif row["kind"] == "stored":
            state[row["key"]] = torch.from_numpy(stored[row["key"]])
        elif row["key"].endswith("num_batches_tracked"):
            state[row["key"]] = torch.zeros((), dtype=torch.long)
        else:  # constants of the activation
            state[row["key"]] = torch.zeros(row["shape"])
    return state


class Golden(NamedTuple):
    """A model of the official code, and the keys of its golden numbers.

    Args:
        name: Name of the model in the golden files.
        make: Builds our student from the path of a checkpoint.
        parameters: Number of parameters of our student.
        statistics: Name of the file with the statistics of batch normalisation.
        suffix: Suffix of the keys of the expected numbers.
    """

    name: str
    make: Callable[[str], LogMelStudent]
    parameters: int
    statistics: str = "bnstats"
    suffix: str = ""

    def student(self, folder: Path) -> LogMelStudent:
        path, state = folder / "official.ckpt", official_state(self.name, self.statistics)
        torch.save({"state_dict": {f"student_model.{key}": value for key, value in state.items()}}, path)
        student = self.make(str(path)).eval()
        if self.suffix == "_temp1":
            student.on_progress(1.0)
        return student

    def output(self, name: str) -> np.ndarray[Any, Any]:
        return np.load(GOLDEN / "ssondo" / f"model_{self.name}.npz")[name]

    def mel(self) -> torch.Tensor:
        shape = (2, 1, 128, 100) if self.name.endswith(("n01", "net4")) else (1, 1, 128, 624)
        return torch.from_numpy(np.float32(2 * np.random.RandomState(1234).standard_normal(shape) - 3))[:, 0]


def dymn(width: float) -> Callable[[str], LogMelStudent]:
    return lambda checkpoint: DyMN(width, checkpoint=checkpoint)


MODELS = [
    Golden("mn01", lambda checkpoint: MobileNetV3(0.1, checkpoint), 43_384),
    Golden("mn10", lambda checkpoint: MobileNetV3(1.0, checkpoint), 2_971_664),
    Golden("dymn01", dymn(0.1), 147_164, suffix="_temp30"),
    Golden("dymn01", dymn(0.1), 147_164, "bnstats_temp1", "_temp1"),
    Golden("dymn10", dymn(1.0), 8_643_312, suffix="_temp30"),
    Golden("dymn10", dymn(1.0), 8_643_312, "bnstats_temp1", "_temp1"),
    Golden("eres2net4", lambda checkpoint: ERes2Net(4, checkpoint), 87_965),
    Golden("eres2net16", lambda checkpoint: ERes2Net(16, checkpoint), 1_368_068),
]


def pooled(student: LogMelStudent, mel: torch.Tensor) -> torch.Tensor:
    frames, valid = student.encode_mel(mel)
    assert valid.tolist() == [frames.shape[1]] * len(mel)
    if isinstance(student, ERes2Net):
        return mean_and_deviation(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    return frames.mean(1)


@pytest.mark.parametrize("golden", MODELS, ids=lambda golden: golden.name + golden.suffix)
def test_embeddings_equal_the_official_ones(golden: Golden, tmp_path: Path) -> None:
    student, mel = golden.student(tmp_path), golden.mel()
    assert student.parameter_count() == golden.parameters
    with torch.no_grad():
        single, double = pooled(student, mel).numpy(), pooled(student.double(), mel.double()).numpy()
    expected = golden.output("embedding" + golden.suffix).reshape(double.shape)
    np.testing.assert_allclose(double, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


FIRST_LAYERS: list[tuple[Golden, Callable[[Any], tuple[torch.Tensor, Any]]]] = [
    (MODELS[0], lambda student: (student.features[0][0].weight, student.features[0][1])),
    (MODELS[2], lambda student: (student.layers[0].depth_conv.weight, student.layers[0].depth_norm)),
    (MODELS[6], lambda student: (student.network["conv1"].weight, student.network["bn1"])),
]


@pytest.mark.parametrize(("golden", "first_layer"), FIRST_LAYERS, ids=["mn01", "dymn01", "eres2net4"])
def test_a_training_pass_equals_the_official_one(
    golden: Golden, first_layer: Callable[[Any], tuple[torch.Tensor, Any]], tmp_path: Path
) -> None:
    student = golden.student(tmp_path).double().train()
    embedding = pooled(student, golden.mel().double())
    np.testing.assert_allclose(embedding.detach(), golden.output("train_embedding")[:, 0], rtol=1e-7, atol=1e-8)
    embedding.square().mean().backward()
    weight, norm = first_layer(student)
    np.testing.assert_allclose(weight.grad, golden.output("train_grad_first_conv"), rtol=1e-5, atol=1e-9)
    after = golden.output("train_first_bn_running_mean_after")
    np.testing.assert_allclose(norm.running_mean, after, rtol=1e-6, atol=1e-9)


def test_several_slices_are_the_rows_of_a_batch(tmp_path: Path) -> None:
    """The official DyMN does not accept several slices, and the official ERes2Net only as rows of a batch."""
    golden = MODELS[6]
    student, slices = (
        golden.student(tmp_path).double(),
        torch.from_numpy(np.float32(2 * np.random.RandomState(1235).standard_normal((1, 2, 128, 100)) - 3)).double(),
    )
    with torch.no_grad():
        np.testing.assert_allclose(pooled(student, slices[0]), golden.output("embedding_2slices")[0], rtol=1e-9)


def test_bare_efficientat_keys_load_too(tmp_path: Path) -> None:
    state = {key.removeprefix("model."): value for key, value in official_state("mn01").items() if "head" not in key}
    save_file(state, tmp_path / "mn01.safetensors")
    student = MobileNetV3(0.1, checkpoint=str(tmp_path / "mn01.safetensors"))
    assert student.features[0][0].weight.equal(state["features.0.0.weight"])
    state = {key.removeprefix("model."): value for key, value in official_state("dymn01").items()}
    save_file(state, tmp_path / "dymn01.safetensors")
    assert float(DyMN(0.1, checkpoint=str(tmp_path / "dymn01.safetensors")).temperature) == 1.0


def test_the_temperature_falls_as_in_efficientat_and_is_saved() -> None:
    student = DyMN(0.1)
    temperatures = []
    for epoch in range(0, 200, 10):
        student.on_progress(epoch / 200)
        temperatures.append(float(student.temperature))
    assert temperatures[:4] == pytest.approx([30.0, 20.0, 10.0, 1.0])
    assert set(temperatures[3:]) == {1.0}
    again = DyMN(0.1)
    again.load_state_dict(student.state_dict())
    again.on_progress(0.0)  # the temperature of a trained student does not rise
    assert float(again.temperature) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"PK\3\4 cut"), "damaged"),
        (lambda path: torch.save({"features.0.0.weight": torch.zeros(8, 1, 3, 3)}, path), "not a MobileNetV3"),
        (lambda path: torch.save(official_state("mn10"), path), "set --student.width"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
    ],
)
def test_wrong_checkpoints_are_refused(make, message: str, tmp_path: Path) -> None:
    make(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=message):
        MobileNetV3(0.1, checkpoint=str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("name", ["mobilenet_v3", "dymn"])
def test_gates_ignore_the_padding(name: str) -> None:
    """Large weights make the gates sensitive; with initial weights, padding changes them too little for a test."""
    student: Any = distill.create_student(name, width=0.1)
    for module in student.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data *= 100
    student = student.double().eval()
    student.on_progress(1.0)
    mel, valid = torch.randn(3, 128, 320, dtype=torch.float64) - 3, torch.tensor([320, 160, 33])
    with torch.no_grad():
        together, frames = student.encode_mel(mel, valid)
        assert frames.tolist() == [10, 5, 2]
        for row, count in enumerate(valid.tolist()):
            alone, _ = student.encode_mel(mel[row : row + 1, :, :count])
            error = (together[row, : frames[row]] - alone[0]).norm() / alone.norm()
            assert float(error) < 1e-9
