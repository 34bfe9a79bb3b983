"""The base class of convolutional students: S-SONDO's front-end, clips of any length, and official weights.

Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import choose_prefix, provenance, read_state_dict, without_wrappers
from distill.data.errors import UserError
from distill.students.student import Student

WINDOW, HOP = 0.032, 0.016  # seconds: 1024 and 512 samples at 32 kHz
_MAX_WINDOW = 2.1  # seconds
_ROWS = 4  # of the last feature map of a `RowStudent`
_MIN_SAMPLE_RATE = 125  # Hz, so that a hop has two samples
_SSONDO = "student_model.model."  # start of the keys of S-SONDO's networks
_SSONDO_BAND = (32_000, 50.0, 16_000.0)  # Hz: sample rate, lowest and highest frequency


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
        frequency_band: Lower edge of the first mel band and upper edge of the last, in Hz.
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
    def frequency_band(self) -> tuple[float, float]:
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
        unpadded = torch.compiler.is_exporting() or bool((self.mel.frames(batch.host_lengths) == mel.shape[2]).all())
        frames, valid = self.encode_mel(mel.to(self.dtype), None if unpadded else valid)
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
        file = without_wrappers(read_state_dict(checkpoint, option="--student.checkpoint"), where)
        wanted = network.state_dict()
        matches = {key: match for key in file if (match := re.fullmatch(pattern, key))}
        starts = [key[: match.start(1)] for key, match in matches.items() if match[1] == next(iter(wanted))]
        start = choose_prefix(starts, where)
        found = {match[1]: file[key] for key, match in matches.items() if key.startswith(start)}
        unused = [key for key in file if key not in matches or not key.startswith(start)]
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

    def ssondo_state(self, parts: Mapping[str, nn.Module], start: str = _SSONDO) -> dict[str, Tensor]:
        """Return the weights of parts of the network by S-SONDO's keys, which `load_official` reads.

        Args:
            parts: Parts by their names, which are the official ones.
            start: Start of all keys. Empty: those of EfficientAT, which has the same names.

        Raises:
            UserError: the student has another front-end.
        """
        if (self.sample_rate, *self._band) != _SSONDO_BAND:
            rate, low, high = _SSONDO_BAND
            raise UserError(f"the official code has {rate} Hz and a band of {low:g} to {high:g} Hz only")
        return {
            f"{start}{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.state_dict().items()
        }


class RowStudent(LogMelStudent):
    """A student whose last feature map has four rows of frequency: one for each 32 of the 128 mel bands.

    Args:
        sample_rate: Sample rate of the input, in Hz.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
        rows: Rows that are kept apart in an embedding: 1, 2 or 4.

    Raises:
        UserError: `rows` is another number, or the band is not valid.
    """

    time_stride = 32

    def __init__(self, sample_rate: int, low_hz: float, high_hz: float | None, rows: int) -> None:
        super().__init__(sample_rate, low_hz, high_hz)
        if rows not in (1, 2, _ROWS):
            raise UserError(f"--student.rows {rows}: must be 1, 2 or {_ROWS}")
        self.rows = rows

    def ssondo_state(self, parts: Mapping[str, nn.Module], start: str = _SSONDO) -> dict[str, Tensor]:
        """Return the weights of parts of the network by S-SONDO's keys, as every `LogMelStudent` does.

        Raises:
            UserError: rows are kept apart, or the student has another front-end.
        """
        if self.rows != 1:
            raise UserError(
                f"the official code does not keep {self.rows} rows apart, as --student.rows {self.rows} does"
            )
        return super().ssondo_state(parts, start)

    def frames_of(self, x: Tensor) -> Tensor:
        """Return frames (B, T, C rows): the means of equal parts of the four rows of (B, C, 4, T)."""
        return x.unflatten(2, (self.rows, -1)).mean(3).flatten(1, 2).transpose(1, 2)


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
