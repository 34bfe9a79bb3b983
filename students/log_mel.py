"""What convolutional students share: S-SONDO's front-end, clips of any length, and official weights.

Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

import re
from abc import abstractmethod

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import provenance, read_state_dict
from distill.data.errors import UserError
from distill.students.student import Student


class LogMelStudent(Student):
    """A network over log-mel spectrograms.

    Front-end of S-SONDO: 32 kHz, 128 mel bands from 50 Hz to 16 kHz, 32 ms windows every 16 ms, ln(mel + 0.001).
    Clips of any length: shorter ones in a batch are masked wherever the network mixes time, so that each is
    embedded as if alone.

    Attributes:
        time_stride: Spectra from one frame to the next.
        width_option: Name of the option that decides how wide the network is.
    """

    sample_rate = 32_000
    time_stride: int
    width_option = "width"

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(self.sample_rate, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)

    @abstractmethod
    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network without its front-end.

        Args:
            mel: Log-mel spectrograms (B, M, T).
            valid: Spectra inside each clip (B,); None where all are.

        Returns:
            Frames (B, ceil(T / time_stride), C) and how many of them are valid (B,).
        """

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 32 kHz."""
        mel = self.mel(batch.waveform)
        valid = self.mel.frames(batch.lengths)
        # A graph cannot branch on values, and takes clips whole.
        whole = torch.compiler.is_exporting() or bool((valid == mel.shape[2]).all())
        frames, valid = self.encode_mel(mel, None if whole else valid)
        step = self.mel.hop / self.sample_rate
        centre = self.mel.window / 2 / self.sample_rate  # odd kernels keep output t over input time_stride * t
        times = centre + torch.arange(frames.shape[1], device=mel.device) * self.time_stride * step
        return Embeddings.of_frames(frames, times, frame_mask(valid, frames.shape[1]))

    def load_official(self, network: nn.Module, checkpoint: str, pattern: str) -> dict[str, Tensor]:
        """Take a network's weights from a file of EfficientAT or S-SONDO; heads are left out.

        Args:
            network: What takes them.
            checkpoint: The file.
            pattern: What a key looks like; its first group is the key in `network`.

        Returns:
            The file, by its own keys.

        Raises:
            UserError: the file holds another network, or one of another width.
        """
        name, where = type(self).__name__, f"--student.checkpoint {checkpoint}"
        file = read_state_dict(checkpoint, option="--student.checkpoint")
        found, unused = {}, []
        for key, tensor in file.items():
            if match := re.fullmatch(pattern, key):
                found[match[1]] = tensor
            else:
                unused.append(key)
        wanted = network.state_dict()
        for key in wanted.keys() & found.keys():  # first, since another width can have other keys too
            if found[key].shape != wanted[key].shape:
                shapes = f"{key} is {tuple(found[key].shape)}, not {tuple(wanted[key].shape)}"
                raise UserError(f"{where}: another width ({shapes}); set --student.{self.width_option}")
        if missing := sorted(wanted.keys() - found.keys()):
            raise UserError(f"{where}: no {name} ({missing[0]!r} is not in it)")
        if extra := sorted(found.keys() - wanted.keys()):
            raise UserError(f"{where}: another network ({extra[0]!r} has no place)")
        network.load_state_dict(found)
        self.provenance = provenance(checkpoint, unused)
        return file


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    activation: type[nn.Module] | None = None,
    depthwise: bool = False,
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless None, an activation, with EfficientAT's settings."""
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        batch_norm(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with EfficientAT's settings."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def initialise(module: nn.Module) -> None:
    """As the official code: He for convolutions, N(0, 0.01) for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def round_to_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, never more than a tenth below `channels` (the official rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mask(x: Tensor, valid: Tensor | None) -> Tensor:
    """Zero (B, C, M, T) after each clip's end, where a clip alone would meet the padding of a convolution."""
    return x if valid is None else x * frame_mask(valid, x.shape[3])[:, None, None, :]


def halve(valid: Tensor | None) -> Tensor | None:
    """Valid steps of time after a stride of 2."""
    return None if valid is None else (valid + 1) // 2


def valid_or_all(valid: Tensor | None, x: Tensor) -> Tensor:
    """Valid steps of each clip of (B, C, M, T), int64; all of them where there is no mask."""
    return torch.full((len(x),), x.shape[3], device=x.device) if valid is None else valid
