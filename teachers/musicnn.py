"""MusiCNN, a tagger of music (Pons et al. 2018, arXiv 1711.02520; Pons and Serra 2019, arXiv 1909.06654)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import MelEnergies
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import load_weights, provenance, read_state_dict, without_prefix
from distill.data.encoders.windows import Windows
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

_SHIPPED = Path(__file__).parent / "weights" / "musicnn.safetensors"
_SECONDS = 3.0
_FRAMES = 187  # spectra in a window of three seconds, as in training
_BANDS = 96
_CPU_WINDOWS = 4  # encoded at a time on a CPU, whose cache does not hold the maps of more: 1.4 times as fast as 16
_TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip


class MusiCNN(Teacher):
    """MusiCNN, trained on the tags of MagnaTagATune. Its weights are part of this package: it works offline.

    A frame embedding has the 561 features of the front end and the 3 x 64 of the middle layers, every 16 ms. A clip
    embedding has their means, then their maxima, over a window of 3 s. The network has this fixed input, so shorter
    clips are repeated, as in training. The logits are those of 50 tags; the official code gives their sigmoid.

    Args:
        checkpoint: File of the same network, written by tools/convert_musicnn.py. None means the file of this package.
        windows: How longer clips are cut. With 0 seconds only the first 3 s are used.

    Raises:
        UserError: the file is missing, damaged or of another model, or the windows are longer than 3 s.
    """

    sample_rate = 16_000
    published = Published(787_159, 1506, 753, 0.016)
    licence = "ISC"
    source = "part of this package; from MTT_musicnn in the package musicnn 0.1.0"
    labels = _TAGS

    def __init__(self, checkpoint: str | None = None, windows: Windows = Windows(seconds=_SECONDS)) -> None:
        super().__init__(windows)
        self.limit_windows(_SECONDS)
        file = _SHIPPED if checkpoint is None else checkpoint
        where = f"--teacher.checkpoint {file}"
        state = without_prefix(read_state_dict(file, "--teacher.checkpoint"), "input_norm.weight", where)
        network = MusiCNNNetwork()
        dropped = load_weights(network, state, where, ignore=["*.num_batches_tracked"])
        self.provenance = provenance(file, dropped)
        self.mel = MelEnergies(
            self.sample_rate, torch.hann_window(512), points=512, hop=256,
            filters=mel_filters(_BANDS, 512, self.sample_rate, 0.0, 8_000.0, slaney=True), centred=True,
        )  # fmt: skip
        self.network = network

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz, of windows of at most 3 s."""
        samples = round(_SECONDS * self.sample_rate)
        repeated = torch.arange(samples, device=batch.waveform.device) % batch.lengths.unsqueeze(1)
        spectra = self.spectrogram(batch.waveform.gather(1, repeated)).to(self.dtype)
        at_once = _CPU_WINDOWS if spectra.device.type == "cpu" else len(spectra)
        frames = torch.cat([self.network(windows) for windows in spectra.split(at_once)])
        clip = torch.cat([frames.mean(1), frames.amax(1)], dim=1)
        times = torch.arange(_FRAMES, device=frames.device) * (self.mel.hop / self.sample_rate)
        valid = self.mel.frames(batch.lengths).clamp(max=_FRAMES)
        embeddings = Embeddings.of_frames(frames, times, frame_mask(valid, _FRAMES), clip)
        return embeddings._replace(logits=self.network.head(clip))

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute log10(10000 mel + 1) of (batch, samples of 3 s). Shape (batch, time, bands)."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.mel.energies(waveform.float(), _compress)[..., :_FRAMES].transpose(1, 2)


def _compress(energies: Tensor, out: Tensor | None) -> Tensor:
    return torch.log10(energies.mul_(10_000.0).add_(1.0), out=out)


class MusiCNNNetwork(nn.Module):
    """Tall and long convolutions, three densely joined layers, and the head of 50 tags."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        # Timbre: 0.4 and 0.7 of the bands, a tenth of a second. Rhythm: one band, 2 s, 1 s and 0.5 s.
        self.timbral = nn.ModuleList(MaxOverBands(204, (7, bands)) for bands in (38, 67))
        self.temporal = nn.ModuleList(MaxOverBands(51, (time, 1)) for time in (128, 64, 32))
        self.middle = nn.ModuleList(MaxOverBands(64, (7, features)) for features in (561, 64, 64))
        self.head = nn.Sequential(
            nn.BatchNorm1d(1506, eps=1e-3), nn.Linear(1506, 200), nn.ReLU(), nn.BatchNorm1d(200, eps=1e-3),
            nn.Linear(200, len(_TAGS)),
        )  # fmt: skip

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the features of the front end and of the middle layers (batch, time, 753) of (batch, time, bands)."""
        normalised = self.input_norm(spectra.unsqueeze(1)).squeeze(1)
        front = torch.cat([layer(normalised) for layer in (*self.timbral, *self.temporal)], dim=2)
        first = self.middle[0](front)
        second = first + self.middle[1](first)
        third = second + self.middle[2](second)
        return torch.cat([front, first, second, third], dim=2)


class MaxOverBands(nn.Module):
    """Convolution over time and bands, ReLU and batch norm, then the maximum over bands. The number of frames stays.

    Args:
        channels: Number of filters.
        kernel: Frames and bands of a filter.
    """

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, channels, kernel)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3)
        self.padding = (0, 0, (kernel[0] - 1) // 2, kernel[0] // 2)

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, time, channels) of (batch, time, bands)."""
        maps = self.convolution(F.pad(features.unsqueeze(1), self.padding))
        # The norm is a line: its maximum lies at the largest input, or at the smallest if it descends. So the maximum
        # goes first, and the norm has fewer numbers.
        low, high = maps.aminmax(dim=3)
        extreme = torch.where(self.norm.weight.unsqueeze(1) < 0, low, high)
        return self.norm(extreme.relu()).transpose(1, 2)
