"""A student in two sizes and an objective for the pocket benchmark, written as a user would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distill
from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import LogMel

_STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1))
_ROWS = 4  # of frequency stay separate, because their mean would hide the pitch


class PocketNetwork(distill.Student):
    """Four convolutions over a log-mel spectrogram, and a head where there are classes; a frame every 80 ms.

    Args:
        channels: Channels of the first convolution; 12 give 34 k parameters, 40 give 376 k.
        classes: Outputs of the head; 0 means no head.
    """

    sample_rate = 16_000

    def __init__(self, channels: int = 12, classes: int = 0) -> None:
        super().__init__()
        self.mel = LogMel(self.sample_rate, window=512, hop=160, bands=64, low=50.0, high=8_000.0, offset=1e-5)
        widths = (1, channels, 2 * channels, 4 * channels, 4 * channels)
        layers: list[nn.Module] = [nn.BatchNorm2d(1, affine=False)]
        for inputs, outputs, stride in zip(widths[:-1], widths[1:], _STRIDES, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        dim = 4 * channels * _ROWS
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(dim, classes)) if classes else None

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        """Encode a batch at 16 kHz."""
        mel = self.mel(batch.waveform).unsqueeze(1)
        valid = self.mel.frames(batch.lengths)
        whole = bool((valid == mel.shape[3]).all())
        x = mel
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                x = x if whole else x * frame_mask(valid, x.shape[3])[:, None, None, :]
                valid = (valid + 1) // 2 if layer.stride[1] == 2 else valid
            x = layer(x)
        frames = x.flatten(1, 2).transpose(1, 2)
        times = (256 + 8 * 160 * torch.arange(frames.shape[1], device=x.device)) / self.sample_rate
        embeddings = distill.Embeddings.of_frames(frames, times, frame_mask(valid, frames.shape[1]))
        return embeddings if self.head is None else embeddings._replace(logits=self._logits(embeddings.clip))

    def _logits(self, clip: Tensor) -> Tensor:
        assert self.head is not None
        return self.head(clip)


class MelStatistics(distill.Teacher):
    """Mean and standard deviation of 64 log-mel bands over time: the baseline."""

    sample_rate = 16_000
    weights = None

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(self.sample_rate, window=512, hop=160, bands=64, low=50.0, high=8_000.0, offset=1e-5)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        """Encode a batch at 16 kHz."""
        mel = self.mel(batch.waveform)
        inside = frame_mask(self.mel.frames(batch.lengths), mel.shape[2]).unsqueeze(1)
        count = inside.sum(2)
        mean = (mel * inside).sum(2) / count
        squares = ((mel - mean.unsqueeze(2)) * inside).square().sum(2)
        return distill.Embeddings.of_clip(torch.cat([mean, (squares / count).sqrt()], dim=1))


class MultiTask(distill.Objective):
    """Cross entropy in each group of labels of a clip: its word, its speaker, its notes.

    A clip without a label of a group is left out of that group. Two labels of a group share the target equally.

    Args:
        student: Encoder with the logits of all groups, one group after the other.
        groups: Number of labels of each group, in the order of their names.
    """

    reads_labels = True

    def __init__(self, student: distill.Student, groups: list[int]) -> None:
        super().__init__(student, {"multi_task": 1.0})
        self.groups = groups

    def forward(self, batch: distill.AudioBatch) -> dict[str, Tensor]:
        """Return {"multi_task": loss}: the sum over the groups, each weighted by its share of labelled clips."""
        logits = self.student(batch).logits
        loss = logits.new_zeros(())
        for scores, labels in zip(logits.split(self.groups, 1), batch.labels.split(self.groups, 1), strict=True):
            count = labels.sum(1, keepdim=True)
            loss = loss + F.cross_entropy(scores, labels / count.clamp(min=1), reduction="sum") / len(labels)
        return {"multi_task": loss}
