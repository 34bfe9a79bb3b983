"""The base class of convolutional students: S-SONDO's front-end, clips of any length, and official weights.

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
    """A convolutional network over log-mel spectrograms.

    The front-end is S-SONDO's: 32 kHz, 128 mel bands from 50 Hz to 16 kHz, 32 ms windows every 16 ms, ln(mel + 0.001).
    Clips may have any length. The padding of a shorter clip is masked wherever the network mixes time steps.
    A clip in a padded batch therefore has the same embedding as the clip alone.

    Attributes:
        time_stride: Number of spectra from one frame to the next.
        width_option: Name of the option that sets the width of the network.
    """

    sample_rate = 32_000
    time_stride: int
    width_option = "width"
    learning_rate = 3e-3
    weight_decay = 1e-6

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(self.sample_rate, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)

    @abstractmethod
    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode log-mel spectrograms: the network without its front-end.

        Args:
            mel: Log-mel spectrograms. Shape (B, M, T).
            valid: Number of valid spectra of each clip, int64. Shape (B,). None means that all are valid.

        Returns:
            Frames (B, ceil(T / time_stride), C), and the number of valid frames of each clip (B,).
        """

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch of audio at 32 kHz."""
        mel = self.mel(batch.waveform)
        valid = self.mel.frames(batch.lengths)
        # An exported graph cannot branch on values, and its clips are not padded.
        unpadded = torch.compiler.is_exporting() or bool((valid == mel.shape[2]).all())
        frames, valid = self.encode_mel(mel, None if unpadded else valid)
        step = self.mel.hop / self.sample_rate
        # All kernels are odd, so frame t is centred on spectrum time_stride * t.
        centre = self.mel.window / 2 / self.sample_rate
        times = centre + torch.arange(frames.shape[1], device=mel.device) * self.time_stride * step
        return Embeddings.of_frames(frames, times, frame_mask(valid, frames.shape[1]))

    def load_official(self, network: nn.Module, checkpoint: str, pattern: str) -> dict[str, Tensor]:
        """Load a network's weights from a file of EfficientAT or S-SONDO. Heads are not loaded.

        Args:
            network: The network that gets the weights.
            checkpoint: Path of the file.
            pattern: Regular expression for the keys in the file. Its first group is the key in `network`.

        Returns:
            All tensors of the file, by their keys in the file.

        Raises:
            UserError: the file has the weights of another network, or of another width.
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
        for key in wanted.keys() & found.keys():  # checked first, because another width can have other keys too
            if found[key].shape != wanted[key].shape:
                shapes = f"{key} is {tuple(found[key].shape)}, not {tuple(wanted[key].shape)}"
                raise UserError(f"{where}: another width ({shapes}); set --student.{self.width_option}")
        if missing := sorted(wanted.keys() - found.keys()):
            raise UserError(f"{where}: not a {name} ({missing[0]!r} is missing)")
        if extra := sorted(found.keys() - wanted.keys()):
            raise UserError(f"{where}: another network (unknown key {extra[0]!r})")
        network.load_state_dict(found)
        self.provenance = provenance(checkpoint, unused)
        return file
