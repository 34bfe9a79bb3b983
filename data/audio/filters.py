"""Weights of triangular mel bands: Slaney's and HTK's, and Kaldi's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def mel_filters(bands: int, points: int, sample_rate: int, low: float, high: float, slaney: bool) -> Tensor:
    """Return triangles that are linear in Hz, float32. Shape (points // 2 + 1, bands).

    Args:
        bands: Number of bands.
        points: Points of the transform.
        sample_rate: In Hz.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        slaney: True: Slaney's mel scale, unit area. False: HTK's mel scale, unit height.
    """
    # In double precision, since rounded weights change the quiet bands beside a loud tone.
    # Slaney's scale is linear to 1 kHz (15 mel) and logarithmic above.
    knee, step = 15.0, math.log(6.4) / 27.0

    def mel(hertz: float) -> float:
        if not slaney:
            return 2595.0 * math.log10(1.0 + hertz / 700.0)
        return hertz * 3.0 / 200.0 if hertz < 1000.0 else knee + math.log(hertz / 1000.0) / step

    mels = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64, device="cpu")
    if slaney:
        edges = torch.where(mels < knee, mels * 200.0 / 3.0, 1000.0 * torch.exp(step * (mels - knee)))
    else:
        edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hertz = torch.linspace(0, sample_rate / 2, points // 2 + 1, dtype=torch.float64, device="cpu").unsqueeze(1)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre)).clamp(min=0)
    return (triangles * 2.0 / (right - left) if slaney else triangles).float()


def kaldi_filters(
    bands: int, points: int, sample_rate: int = 16_000, low: float = 20.0, high: float = 8_000.0
) -> Tensor:
    """Return triangles that are linear in Kaldi's mel, of unit height. Shape (points // 2 + 1, bands).

    The weights of the Nyquist frequency are 0. The arguments are those of `mel_filters`.
    """

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    # float32 where Kaldi and torchaudio have it: in narrow bands, the last bits of a weight change the result.
    step = (mel(high) - mel(low)) / (bands + 1)
    band = torch.arange(bands, device="cpu")
    left, centre, right = (mel(low) + (band + edge) * step for edge in (0.0, 1.0, 2.0))
    hertz = torch.arange(points // 2, device="cpu") * (sample_rate / points)
    bins = (1127.0 * (1.0 + hertz / 700.0).log()).unsqueeze(1)
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    return F.pad(triangles, (0, 0, 0, 1))
