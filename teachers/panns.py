"""PANNs' Cnn14 (Kong et al. 2020, arXiv 1912.10211), written from the formulas in qiuqiangkong/panns_inference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask, pad_to
from distill.data.audio.mel import DecibelMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_state_dict, without_prefix
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

_BANDS = 64
_LOW_HZ = 50.0
_BLOCKS = 6
_STRIDE = 32  # spectra of a frame: all blocks but the last halve time
_FILTERS = "logmel_extractor.melW"
# Rate, samples between spectra and upper edge in Hz, by the number of frequencies: Cnn14, Cnn14_16k and Cnn14_8k.
_FRONT_ENDS = {513: (32_000, 320, 14_000.0), 257: (16_000, 160, 8_000.0), 129: (8_000, 80, 4_000.0)}


class PANNs(Teacher):
    """Cnn14 from an official file: 32 kHz, a convolutional network, 3.1 frames a second, AudioSet's logits.

    The clip embedding is the official one: the maximum plus the mean of the features over time, then a linear layer and
    ReLU. A frame embedding is the same over three neighbouring steps, as in Cnn14_DecisionLevelMax. The files of
    Cnn14_16k and Cnn14_8k work too; their rate is that of the mel filters in the file.

    Args:
        checkpoint: The file, such as Cnn14_mAP=0.431.pth.
        windows: How longer clips are cut.

    Raises:
        UserError: the file is damaged, is not a Cnn14, or has other mel filters.
    """

    sample_rate = 32_000
    published = Published(80_753_615, 2048, 2048, 0.32)
    licence = "CC-BY-4.0"
    source = "Cnn14_mAP=0.431.pth of zenodo.org/records/3987831: --teacher.checkpoint FILE"

    def __init__(self, checkpoint: str, windows: Windows = Windows()) -> None:
        super().__init__(windows)
        where = f"--teacher.checkpoint {checkpoint}"
        state = without_prefix(read_state_dict(checkpoint, "--teacher.checkpoint"), "conv_block1.conv1.weight", where)
        if "conv_block1.conv1.weight" not in state:
            raise UserError(
                f"{where}: is not a Cnn14 of PANNs: 'conv_block1.conv1.weight' is missing (the first key is "
                f"{next(iter(state))!r})"
            )
        self.mel = _front_end(state, where)
        self.sample_rate = self.mel.sample_rate
        with all_keys(where):
            model = Cnn14(state)
        dropped = load_weights(model, state, where, ignore=["*.num_batches_tracked"])
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        self.labels, self._columns = audioset.columns_of(len(state["fc_audioset.weight"]))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the rate of the file, 32 kHz for Cnn14."""
        return by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips of one length."""
        features = self.model(self.spectrogram(batch.waveform).to(self.dtype))
        clip = self.model.embed(features.amax(2) + features.mean(2))
        near = [pool(features, kernel_size=3, stride=1, padding=1) for pool in (F.max_pool1d, F.avg_pool1d)]
        frames = self.model.embed((near[0] + near[1]).transpose(1, 2))
        steps = frames.shape[1]
        centres = _STRIDE * torch.arange(steps, device=frames.device) + (_STRIDE - 1) / 2
        mask = frame_mask((self.mel.frames(batch.lengths) // _STRIDE).clamp(min=1, max=steps), steps)
        embeddings = Embeddings.of_frames(frames, centres * (self.mel.hop / self.sample_rate), mask, clip)
        return embeddings._replace(logits=self.model.fc_audioset(clip)[:, self._columns.to(clip.device)])

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute the mel spectrogram in decibels of (batch, samples), with at least the spectra of one frame.

        Returns:
            Shape (batch, time, 64), float32.
        """
        return self.mel(pad_to(waveform, (_STRIDE - 1) * self.mel.hop)).transpose(1, 2)


def _front_end(state: Mapping[str, Tensor], where: str) -> DecibelMel:
    """Return the front-end whose filters the file has; that of 32 kHz without filters. Raise UserError for others."""
    stored = state.get(_FILTERS)
    frequencies = 513 if stored is None else len(stored)
    rate, hop, high = _FRONT_ENDS.get(frequencies, _FRONT_ENDS[513])
    points = 2 * (frequencies - 1)
    filters = mel_filters(_BANDS, points, rate, _LOW_HZ, high, slaney=True)
    # Weights are up to 0.1, and files in half precision are accepted.
    if stored is not None and (stored.shape != filters.shape or not torch.allclose(stored, filters, atol=1e-3)):
        raise UserError(f"{where}: {_FILTERS!r} are not the mel filters of Cnn14 at 32, 16 or 8 kHz")
    return DecibelMel(_BANDS, _LOW_HZ, high, points=points, hop=hop, sample_rate=rate)


class Cnn14(nn.Module):
    """Six blocks of convolutions and the two linear layers, by the official keys. Widths are those of the tensors."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(_BANDS)
        channels = 1
        for number in range(1, _BLOCKS + 1):
            width = len(state[f"conv_block{number}.conv1.weight"])
            self.add_module(f"conv_block{number}", ConvBlock(channels, width))
            channels = width
        dim = len(state["fc1.weight"])
        self.fc1 = nn.Linear(channels, dim)
        self.fc_audioset = nn.Linear(dim, len(state["fc_audioset.weight"]))

    def forward(self, spectra: Tensor) -> Tensor:
        """Return features (batch, channels, time // 32) of spectra (batch, time, 64), averaged over frequency."""
        maps = self.bn0(spectra.transpose(1, 2).unsqueeze(3)).permute(0, 3, 2, 1)
        for number in range(1, _BLOCKS + 1):
            maps = self.get_submodule(f"conv_block{number}")(maps)
            if number < _BLOCKS:
                maps = F.avg_pool2d(maps, 2)
        return maps.mean(3)

    def embed(self, pooled: Tensor) -> Tensor:
        """Return the embeddings (..., dim) of pooled features (..., channels)."""
        return self.fc1(pooled).relu()


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps (batch, channels, time, bands). Time and bands stay."""
        return self.bn2(self.conv2(self.bn1(self.conv1(maps)).relu())).relu()
