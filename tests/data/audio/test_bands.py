"""Band energies piece by piece, against all frames at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.data.audio.bands import BandSums, Workspace, energies_by_piece, unchanged
from distill.data.audio.filters import mel_filters

WINDOW, POINTS = 400, 512
SUPPORT = slice(56, 456)


@pytest.mark.parametrize("bands", [3, 16, 17, 40, 128])
def test_grouped_sums_equal_one_matrix_product(bands: int) -> None:
    filters = mel_filters(bands, POINTS, 16_000, 20.0, 8_000.0, slaney=True)
    power = torch.rand(2, 5, POINTS // 2 + 1)
    torch.testing.assert_close(BandSums(filters)(power), power @ filters, atol=1e-6, rtol=1e-5)
    energies = torch.full((7, bands), torch.nan)
    rows = torch.rand(7, POINTS // 2 + 1)
    for left, right, out in BandSums(filters).products(rows, energies):
        torch.mm(left, right, out=out)
    torch.testing.assert_close(energies, rows @ filters, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 700_000), (40, 20_000), (3, 900)], ids=["long", "many", "short"])
@pytest.mark.parametrize("given_memory", [False, True])
def test_pieces_equal_all_frames_at_once(shape: tuple[int, int], given_memory: bool) -> None:
    window, filters = torch.hann_window(WINDOW), mel_filters(40, POINTS, 16_000, 20.0, 8_000.0, slaney=False)
    frames = torch.randn(shape).unfold(1, WINDOW, 160)
    shapes = []

    def apply_window(piece: Tensor, workspace: Workspace) -> None:
        shapes.append(piece.shape[:2])
        torch.mul(piece, window, out=workspace.windowed)

    def halve(energies: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.mul(energies, 0.5, out=out)

    out = torch.full((*frames.shape[:2], 40), torch.nan) if given_memory else None
    found = energies_by_piece(frames, apply_window, SUPPORT, POINTS, BandSums(filters), halve, out)
    padded = torch.nn.functional.pad(frames * window, (SUPPORT.start, POINTS - SUPPORT.stop))
    expected = torch.fft.rfft(padded).abs().square() @ filters / 2
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    assert not given_memory or found is out
    assert sum(clips * time for clips, time in shapes) == frames.shape[0] * frames.shape[1]
    assert (len(shapes) > 1) == (shape[1] > 1_000)


def test_energies_without_compression_are_written_or_returned() -> None:
    energies, out = torch.rand(2, 3), torch.zeros(2, 3)
    assert unchanged(energies) is energies
    assert unchanged(energies, out) is out
    assert out.equal(energies)
