"""The base class of convolutional students: S-SONDO's front-end, clips of any length, and official weights.

Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

import re
from abc import abstractmethod

import torch
from torch import Tensor, nn

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import provenance, read_state_dict
from distill.data.errors import UserError
from distill.students.student import Student

WINDOW, HOP = 0.032, 0.016  # seconds: 1024 and 512 samples at 32 kHz
_ROWS = 4  # of the last feature map of MobileNetV3 and DyMN: 128 mel bands / 32
_MAX_WINDOW = 2.1  # seconds
_MIN_SAMPLE_RATE = 125  # Hz, so that a hop has two samples


class LogMelStudent(Student):
    """A convolutional network over log-mel spectrograms.

    The default front-end is S-SONDO's: 32 kHz, 128 mel bands from 50 Hz to 16 kHz, 32 ms windows every 16 ms, and
    ln(mel + 0.001). Another band keeps the hop of 16 ms. Where 32 ms are too short to resolve the bands, the window is
    doubled until they are. Clips may have any length. The padding of a shorter clip is masked wherever the network
    mixes time steps. A clip in a padded batch therefore has the same embedding as the clip alone.

    Args:
        sample_rate: Sample rate of the input, in Hz; at least 125.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
        bands: Number of mel bands.

    Attributes:
        band: Lower edge of the first mel band and upper edge of the last, in Hz.
        time_stride: Number of spectra from one frame to the next.
        width_option: Name of the option that sets the width of the network.

    Raises:
        UserError: the edges are not from 0 Hz to half of the sample rate, or the band is too narrow.
    """

    sample_rate = 32_000
    time_stride: int
    width_option = "width"
    learning_rate = 3e-3
    weight_decay = 1e-6

    def __init__(
        self, sample_rate: int = 32_000, low_hz: float = 50.0, high_hz: float | None = None, bands: int = 128
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self._band = _checked_band(sample_rate, low_hz, high_hz)
        low, high = self._band
        window = _window(sample_rate, low, high, bands)
        hop = round(HOP * sample_rate)
        self.mel = LogMel(sample_rate, window=window, hop=hop, bands=bands, low=low, high=high, offset=1e-3)
        # The power of a sound grows with the square of the window. This scale keeps the level of its mel bands.
        self._scale = round(WINDOW * 32_000) / window

    @property
    def band(self) -> tuple[float, float]:
        """Lower edge of the first mel band and upper edge of the last, in Hz."""
        return self._band

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
        """Encode a batch of audio at `sample_rate`."""
        mel = self.mel(batch.waveform if self._scale == 1 else batch.waveform * self._scale)
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


def _checked_band(sample_rate: int, low_hz: float, high_hz: float | None) -> tuple[float, float]:
    """Return the lowest and the highest frequency in Hz. Raise UserError if they are impossible."""
    if not sample_rate >= _MIN_SAMPLE_RATE:
        raise UserError(f"--student.sample_rate {sample_rate}: must be at least {_MIN_SAMPLE_RATE} Hz")
    high = sample_rate / 2 if high_hz is None else float(high_hz)
    if not 0 <= low_hz < high <= sample_rate / 2:
        raise UserError(
            f"--student.low_hz {low_hz:g} and --student.high_hz {high:g}: must be in ascending order, from 0 to "
            f"{sample_rate / 2:g} Hz, half of --student.sample_rate {sample_rate}"
        )
    return float(low_hz), high


def _window(sample_rate: int, low: float, high: float, bands: int) -> int:
    """Return the samples of the window: 32 ms, doubled until every mel band covers a frequency of the transform."""
    window = round(WINDOW * sample_rate)
    while window <= _MAX_WINDOW * sample_rate:
        if bool(mel_filters(bands, window, sample_rate, low, high, slaney=True).any(0).all()):
            return window
        window *= 2
    raise UserError(
        f"--student.low_hz {low:g} and --student.high_hz {high:g}: too narrow for {bands} mel bands; widen the band"
    )


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    activation: type[nn.Module] | None = None,
    depthwise: bool = False,
) -> nn.Sequential:
    """Return a convolution, batch normalisation and an optional activation, with EfficientAT's settings.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Side of the square kernel; odd.
        stride: Stride in frequency and in time.
        activation: Class of the activation. None means no activation.
        depthwise: Whether each input channel is convolved separately.
    """
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        batch_norm(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation with EfficientAT's settings."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def initialise(module: nn.Module) -> None:
    """Initialise a layer as the official code does: He for convolutions, N(0, 0.01) for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def round_to_8(channels: float) -> int:
    """Return the nearest multiple of 8: at least 8, and at most a tenth below `channels` (the official rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def checked_rows(rows: int) -> int:
    """Return the number of rows of frequency in an embedding. Raise UserError if it does not divide `_ROWS`."""
    if rows not in (1, 2, _ROWS):
        raise UserError(f"--student.rows {rows}: must be 1, 2 or {_ROWS}")
    return rows


def mean_of_rows(x: Tensor, rows: int) -> Tensor:
    """Return frames (B, T, C rows): the means of equal parts of the frequencies of (B, C, F, T)."""
    return x.unflatten(2, (rows, -1)).mean(3).flatten(1, 2).transpose(1, 2)


def mean_and_deviation(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Return the mean and the unbiased standard deviation of the valid frames.

    Args:
        frames: Frames. Shape (B, T, C).
        frame_mask: True where a frame is valid. Shape (B, T), bool.

    Returns:
        Shape (B, 2 C).
    """
    weights = frame_mask.unsqueeze(2).to(frames.dtype)
    count = weights.sum(1)
    mean = masked_mean(frames, frame_mask)
    squares = ((frames - mean.unsqueeze(1)) * weights).square().sum(1)
    return torch.cat([mean, (squares / (count - 1).clamp(min=1) + 1e-8).sqrt()], dim=1)


def mask_padding(x: Tensor, valid: Tensor | None) -> Tensor:
    """Set (B, C, M, T) to zero after the end of each clip, as the padding of a convolution does."""
    return x if valid is None else x * frame_mask(valid, x.shape[3])[:, None, None, :]


def halve_steps(valid: Tensor | None) -> Tensor | None:
    """Return the number of valid time steps after a stride of 2. None stays None."""
    return None if valid is None else (valid + 1) // 2


def valid_steps(valid: Tensor | None, x: Tensor) -> Tensor:
    """Return the number of valid time steps of each clip of `x` (B, C, M, T), int64. None means that all are valid."""
    return torch.full((len(x),), x.shape[3], device=x.device) if valid is None else valid
