from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.data.audio.filters import mel_filters
from distill.data.audio.kaldi import KaldiFbank
from distill.data.audio.mel import DecibelMel, LogMel, PasstMel


def test_log_mel_equals_ssondo(golden: Path) -> None:
    stored = np.load(golden / "ssondo" / "frontend.npz")
    mel = LogMel(32_000, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)
    filters = mel_filters(128, 1024, 32_000, 50.0, 16_000.0, slaney=True)
    np.testing.assert_allclose(filters.numpy(), stored["ssondo_mel_fb"], atol=1e-6)
    result = mel(torch.from_numpy(stored["waveform_1p5s_32k"])[None])[0]
    np.testing.assert_allclose(result.numpy(), stored["ssondo_logmel"], atol=1e-4)


def test_passt_mel_equals_the_official(golden: Path) -> None:
    outputs = load_file(golden / "passt" / "outputs.safetensors")
    waveform = load_file(golden / "passt" / "inputs.safetensors")["wav_3s_32k_i16"].float() / 32768
    mel = (PasstMel()(waveform) + 4.5) / 5
    torch.testing.assert_close(mel[:, ::8], outputs["mel_3s"], atol=1e-4, rtol=0)
    long = (PasstMel()(waveform.tile(4)[:, :320_000]) + 4.5) / 5
    assert long.shape[2] == PasstMel().frames(torch.tensor(320_000)) == 1000
    torch.testing.assert_close(long[..., 980:], outputs["mel_10s_tail"], atol=1e-4, rtol=0)


def test_clap_mel_equals_transformers(golden: Path) -> None:
    outputs = load_file(golden / "clap" / "outputs.safetensors")
    waveform = load_file(golden / "clap" / "inputs.safetensors")["wav_3s_48k_i16"].float() / 32768
    long = DecibelMel()(waveform.tile(4)[:, :480_000])[0].T
    torch.testing.assert_close(long[985:], outputs["feat_10s_tail"], atol=1e-4, rtol=0)
    torch.testing.assert_close(DecibelMel()(waveform)[0].T[:48], outputs["feat_3s_head"], atol=1e-4, rtol=0)
    htk = DecibelMel(slaney=False)(waveform)[0].T[:48]
    torch.testing.assert_close(htk, outputs["fused_feat_3s_head"].reshape(-1, 64)[:48], atol=1e-4, rtol=0)


FRONT_ENDS = [
    KaldiFbank(),
    LogMel(16_000, window=400, hop=160, bands=80, low=50.0, high=8_000.0, offset=1e-7),
    DecibelMel(),
    PasstMel(),
]


def tolerance(front_end: torch.nn.Module) -> float:
    """Return how far two ways of computing the transform may differ: the logarithm of little energy amplifies rounding.

    Kaldi's and PaSST's features have pre-emphasis, so their lowest bands have little.
    """
    return 2e-3 if isinstance(front_end, KaldiFbank | PasstMel) else 5e-4


def test_bands_that_lie_between_frequencies_are_silent() -> None:
    mel = LogMel(16_000, window=32, hop=16, bands=128, low=20.0, high=8_000.0, offset=1.0)
    silent = mel_filters(128, 32, 16_000, 20.0, 8_000.0, slaney=True).sum(0) == 0
    assert silent[:16].all()  # a whole group of bands
    assert torch.equal(mel(torch.randn(1, 4_000)).abs().amax((0, 2)) == 0, silent)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda module: type(module).__name__)
class TestEveryFrontEnd:
    def test_is_exported_with_any_batch_and_length(self, front_end: torch.nn.Module) -> None:
        free = {0: torch.export.Dim.AUTO(min=1), 1: torch.export.Dim.AUTO(min=2_000)}
        program = torch.export.export(
            front_end, (torch.randn(2, 32_000),), dynamic_shapes={"waveform": free},
            prefer_deferred_runtime_asserts_over_guards=True,
        )  # fmt: skip
        waveform = torch.randn(3, 20_000)
        torch.testing.assert_close(program.module()(waveform), front_end(waveform), atol=tolerance(front_end), rtol=0)

    def test_stays_in_float32_under_autocast(self, front_end: torch.nn.Module) -> None:
        waveform = torch.randn(1, 16_000) * 0.1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = front_end(waveform)
        assert mixed.equal(front_end(waveform))

    def test_returns_the_stated_number_of_frames(self, front_end: KaldiFbank | LogMel) -> None:
        for samples in (10, 3_000, 16_000, 33_333):
            shape = front_end(torch.randn(1, samples)).shape
            axis = 1 if isinstance(front_end, KaldiFbank) else 2
            assert shape[axis] == front_end.frames(torch.tensor(samples))

    def test_saves_no_filter(self, front_end: torch.nn.Module) -> None:
        assert not front_end.state_dict()

    @pytest.mark.parametrize("shape", [(2, 600_000), (50, 16_000)], ids=["pieces of a clip", "clips in a piece"])
    def test_reused_memory_changes_nothing(self, front_end: torch.nn.Module, shape: tuple[int, int]) -> None:
        waveform = torch.randn(shape) * 0.1
        plain = front_end(waveform.clone().requires_grad_())
        torch.testing.assert_close(front_end(waveform), plain.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "front_end", [LogMel(32_000, 1024, 512, 128, 50.0, 16_000.0, 1e-3), DecibelMel(), PasstMel(), KaldiFbank()]
)
@pytest.mark.parametrize("samples", [300, 3_333, 20_480])
def test_a_graph_has_matrix_products_of_equal_result(
    front_end: torch.nn.Module, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = torch.randn(2, samples) * 0.1
    expected = front_end(waveform)
    for name in ("is_exporting", "is_compiling"):
        monkeypatch.setattr(torch.compiler, name, lambda: True)
    for name in ("stft", "fft.rfft"):
        monkeypatch.delattr(f"torch.{name}")
    torch.testing.assert_close(front_end(waveform), expected, atol=tolerance(front_end), rtol=0)
