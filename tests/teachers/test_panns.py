"""PANNs' Cnn14 against its official code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill.data.audio.filters import mel_filters
from distill.data.encoders.audioset import columns_of
from distill.data.errors import UserError
from distill.teachers.panns import Cnn14, PANNs
from tests.teachers.golden import Golden, formula_state, noise
from tests.teachers.tiny import TinyTeacher

NARROW = (4, 6, 8, 10, 12, 16)
# Mean and variance of the decibels of the input, for the first norm.
INPUT = {"bn0.running_mean": -30.0, "bn0.running_var": 400.0}
FILTERS = "logmel_extractor.melW"


def shapes(widths: tuple[int, ...], dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a Cnn14, by the official keys, without those of the front-end."""
    found: dict[str, tuple[int, ...]] = {}

    def add_norm(name: str, width: int) -> None:
        found.update({f"{name}.{key}": (width,) for key in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    add_norm("bn0", 64)
    for number, (channels, width) in enumerate(zip((1, *widths), widths, strict=False), 1):
        found[f"conv_block{number}.conv1.weight"] = (width, channels, 3, 3)
        found[f"conv_block{number}.conv2.weight"] = (width, width, 3, 3)
        add_norm(f"conv_block{number}.bn1", width)
        add_norm(f"conv_block{number}.bn2", width)
    found |= {"fc1.weight": (dim, widths[-1]), "fc1.bias": (dim,)}
    return found | {"fc_audioset.weight": (527, dim), "fc_audioset.bias": (527,)}


def tiny_file(folder: Path, **other: Tensor) -> str:
    """Write the golden weights as the authors do, with other tensors beside them."""
    state = formula_state(shapes(NARROW, 16), INPUT) | other
    torch.save({"iteration": 600_000, "model": state}, folder / "cnn14.pth")
    return str(folder / "cnn14.pth")


def build_panns() -> nn.Module:
    return Cnn14({key: torch.empty(shape) for key, shape in shapes((64, 128, 256, 512, 1024, 2048), 2048).items()})


class TestOfficialCode:
    golden = Golden("panns", 1e-4)

    @pytest.mark.parametrize("seconds", [3, 10])
    def test_clip_frames_and_logits(self, seconds: int, tmp_path: Path) -> None:
        teacher = PANNs(tiny_file(tmp_path))
        found = teacher.embed(noise(seconds, 32_000), 32_000)
        self.golden.check(f"clip_{seconds}s", found.clip)
        self.golden.check(f"frames_{seconds}s", found.frames)
        _, columns = columns_of(527)
        self.golden.check(f"logits_{seconds}s", found.logits[:, columns.argsort()])

    def test_front_end_and_convolutions(self, tmp_path: Path) -> None:
        teacher = PANNs(tiny_file(tmp_path))
        spectra = teacher.spectrogram(noise(3, 32_000))
        torch.testing.assert_close(spectra[:, ::8], self.golden.outputs["logmel_3s_sub"], atol=1e-3, rtol=0)  # decibels
        with torch.inference_mode():
            features = teacher.eval().model(spectra)[0]
        torch.testing.assert_close(features, self.golden.outputs["conv6_3s"].mean(2), atol=1e-4, rtol=0)

    @pytest.mark.parametrize(("rate", "points", "high"), [(16_000, 512, 8_000.0), (8_000, 256, 4_000.0)])
    def test_the_rate_is_that_of_the_filters_in_the_file(
        self, rate: int, points: int, high: float, tmp_path: Path
    ) -> None:
        filters = mel_filters(64, points, rate, 50.0, high, slaney=True)
        teacher = PANNs(tiny_file(tmp_path, **{FILTERS: filters}))
        assert teacher.sample_rate == rate
        self.golden.check(f"clip_2s_{rate}", teacher.embed(noise(2, rate), rate).clip)


def test_frames_lie_in_the_middle_of_32_spectra(tmp_path: Path) -> None:
    found = PANNs(tiny_file(tmp_path)).embed(noise(10, 32_000), 32_000)
    assert found.frames.shape[1] == 31
    torch.testing.assert_close(found.frame_times[:2], torch.tensor([0.155, 0.475]))
    short = PANNs(tiny_file(tmp_path)).embed(noise(0.1, 32_000), 32_000)
    assert short.frame_mask.tolist() == [[True]]


@pytest.mark.parametrize("filters", [torch.zeros(513, 64), torch.zeros(513, 32), torch.zeros(100, 64)])
def test_other_mel_filters_are_refused(filters: Tensor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'logmel_extractor\.melW' are not the mel filters of Cnn14"):
        PANNs(tiny_file(tmp_path, **{FILTERS: filters}))


def test_another_network_of_the_authors_is_refused(tmp_path: Path) -> None:
    wide = {"conv_block2.conv1.weight": torch.zeros(6, 8, 3, 3)}  # as Wavegram_Logmel_Cnn14, which joins two inputs
    with pytest.raises(UserError, match=r"'conv_block2\.conv1\.weight' has shape"):
        PANNs(tiny_file(tmp_path, **wide))


TINY = TinyTeacher(lambda folder: {"checkpoint": tiny_file(folder)}, one_file=True, published_network=build_panns)
