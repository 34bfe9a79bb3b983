"""The front-end of convolutional students; MobileNetV3, DyMN and ERes2Net against the official code."""

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
from distill.data.audio.mel import LogMel
from distill.data.errors import UserError
from distill.students.dymn import ANNEALED, DyMN
from distill.students.eres2net import ERes2Net
from distill.students.layers import mean_and_deviation
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


@pytest.mark.parametrize("golden", [MODELS[0], MODELS[2], MODELS[6]], ids=lambda golden: golden.name)
def test_the_official_state_has_the_keys_and_shapes_of_ssondo(golden: Golden, tmp_path: Path) -> None:
    published = {
        f"student_model.{key}": tensor
        for key, tensor in official_state(golden.name, golden.statistics).items()
        if not key.startswith("classification_head.")  # it maps into the teacher's space
    }
    ours = golden.student(tmp_path).official_state()
    assert [(key, ours[key].shape) for key in sorted(ours)] == [
        (key, published[key].shape) for key in sorted(published)
    ]
    constants = ("lambdas", "init_v")  # the golden list has their shapes only
    assert all(ours[key].equal(published[key]) for key in ours if not key.endswith(constants))


def test_a_state_of_dymn_is_that_of_the_code_with_its_temperature() -> None:
    student = DyMN(0.1)
    student.on_progress(ANNEALED / 2)
    with pytest.raises(UserError, match=r"has the temperature 1 or 30, and the student 15\.5"):
        student.official_state()
    student.on_progress(1.0)
    state = student.official_state()
    assert {key.partition(".")[0] for key in state} == {"in_c", "layers", "out_c"}
    constants = state["layers.0.depth_act.lambdas"], state["layers.0.depth_act.init_v"]
    activation, x, context = student.layers[0].depth_act, torch.randn(1, 8, 3, 3), torch.randn(1, 8)
    # EfficientAT's formula: theta = (2 sigmoid - 1) lambda + init, and the maximum of two lines.
    theta = (2 * activation.coef_net[0](context).sigmoid() - 1).view(8, 4) * constants[0] + constants[1]
    lines = [theta[:, piece].view(8, 1, 1) * x[0] + theta[:, 2 + piece].view(8, 1, 1) for piece in range(2)]
    torch.testing.assert_close(activation(x, context)[0], torch.maximum(*lines))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 4}, "does not keep 4 rows apart"),
        ({"sample_rate": 48_000}, "has 32000 Hz and a band of 50 to 16000 Hz"),
    ],
)
def test_a_student_that_the_official_code_cannot_compute_has_no_state(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MobileNetV3(0.1, **options).official_state()


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


CONVOLUTIONAL = {**TINY_OPTIONS, "cnn": {"width": 0.1}, "bc_resnet": {"width": 1.0}}
BATS = {"sample_rate": 256_000, "low_hz": 10_000.0, "high_hz": 120_000.0}
HYDROPHONE = {"sample_rate": 1_000, "low_hz": 10.0, "high_hz": 450.0}
DEFAULT = {"sample_rate": 32_000, "low_hz": 50.0, "high_hz": 16_000.0}


def front_end(**options: Any) -> LogMelStudent:
    student = distill.create_student("cnn", width=0.1, **options)
    assert isinstance(student, LogMelStudent)
    return student


def tone_mel(student: LogMelStudent, frequency: float) -> torch.Tensor:
    """Return the mel spectrum (bands,) in the middle of a second of a tone."""
    rate = student.sample_rate
    seen: list[torch.Tensor] = []
    student.mel.register_forward_hook(lambda module, inputs, output: seen.append(output))
    student.embed(0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(rate) / rate), rate)
    return seen[0][0, :, seen[0].shape[2] // 2]


def test_the_default_front_end_is_the_published_one() -> None:
    student, waveform = front_end(), torch.randn(1, 32_000) * 0.1
    published = LogMel(32_000, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)
    assert student.mel(waveform).equal(published(waveform))
    assert student.sample_rate == 32_000
    assert student.frequency_band == (50.0, 16_000.0)


@pytest.mark.parametrize(
    ("options", "frequencies"),
    [(BATS, (12_000, 45_000, 110_000)), (HYDROPHONE, (20, 100, 440)), (DEFAULT, (100, 1_000, 15_000))],
    ids=["bats", "hydrophone", "default"],
)
def test_a_tone_is_in_the_mel_band_of_its_frequency(options: dict[str, Any], frequencies: tuple[float, ...]) -> None:
    student = front_end(**options)
    low, high = student.frequency_band

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    for frequency in frequencies:
        spectrum = tone_mel(student, frequency)
        expected = 129 * (mel(frequency) - mel(low)) / (mel(high) - mel(low)) - 1
        assert abs(int(spectrum.argmax()) - expected) <= 1.5
        assert int((spectrum > spectrum.max() - 3).sum()) <= 5  # the transform resolves neighbouring bands


@pytest.mark.parametrize("options", [BATS, HYDROPHONE, DEFAULT, {"sample_rate": 250, "low_hz": 5.0}])
def test_no_mel_band_is_empty(options: dict[str, Any]) -> None:
    student = front_end(**options)
    energies = student.mel.of_power(torch.ones(1, student.mel.points // 2 + 1, 1))
    assert energies.shape == (1, 128, 1)
    assert float(energies.min()) > 0


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("options", [BATS, HYDROPHONE], ids=["bats", "hydrophone"])
def test_every_convolutional_student_encodes_any_band(name: str, options: dict[str, Any]) -> None:
    student = distill.create_student(name, **CONVOLUTIONAL[name], **options).eval()
    rate, default = student.sample_rate, distill.create_student(name, **CONVOLUTIONAL[name])
    assert student.frequency_band == (options["low_hz"], options["high_hz"])
    assert student.frame_hop == pytest.approx(default.frame_hop)
    waveform, lengths = torch.randn(3, 2 * rate) * 0.1, torch.tensor([2 * rate, rate + 7, rate // 20])
    together = student.embed(waveform, rate, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = student.embed(waveform[row, :length], rate)
        torch.testing.assert_close(together.clip[row], alone.clip[0], rtol=1e-4, atol=1e-6)


def test_the_level_of_a_sound_does_not_depend_on_the_sample_rate() -> None:
    noise = torch.randn(1, 64_000) * 0.1
    spectrum = torch.fft.rfft(noise)
    hertz = torch.arange(spectrum.shape[1]) / 2
    noise = torch.fft.irfft(spectrum * ((hertz > 500) & (hertz < 6_000)))
    levels = {}
    for rate in (16_000, 32_000, 64_000):
        student = front_end(sample_rate=rate, high_hz=8_000)
        seen: list[torch.Tensor] = []
        student.mel.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        student.embed(noise, 32_000)
        levels[rate] = seen[0].mean(2)
    torch.testing.assert_close(levels[16_000], levels[32_000], atol=0.05, rtol=0)
    torch.testing.assert_close(levels[64_000], levels[32_000], atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high_hz": 16_001}, "--student.high_hz 16001: must be in ascending order, from 0 to 16000 Hz"),
        ({"low_hz": -1}, "--student.low_hz -1 "),
        ({"low_hz": 9_000, "high_hz": 9_000}, "--student.low_hz 9000 and --student.high_hz 9000"),
        ({"sample_rate": 40}, "--student.sample_rate 40: must be at least 125 Hz"),
        ({"low_hz": 1_000, "high_hz": 1_010}, "too narrow for 128 mel bands"),
    ],
)
def test_an_impossible_band_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        front_end(**options)


@pytest.mark.parametrize("name", ["mobilenet_v3", "dymn"])
def test_rows_of_frequency_are_parts_of_the_published_mean(name: str) -> None:
    mel = torch.randn(2, 128, 70)
    frames = {}
    for rows in (1, 2, 4):
        torch.manual_seed(0)
        student: Any = distill.create_student(name, width=0.1, rows=rows)
        with torch.no_grad():
            frames[rows] = student.eval().encode_mel(mel)[0]
    size = frames[1].shape[2]
    for rows in (2, 4):
        assert frames[rows].shape == (2, 3, rows * size)
        apart = frames[rows].unflatten(2, (size, rows))
        torch.testing.assert_close(apart.mean(3), frames[1])
        assert float((apart[..., 0] - apart[..., -1]).abs().max()) > 1e-3 * float(apart.abs().max())
    with pytest.raises(UserError, match=r"--student.rows 3: must be 1, 2 or 4"):
        distill.create_student(name, width=0.1, rows=3)
