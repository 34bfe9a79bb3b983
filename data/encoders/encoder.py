"""The base of teachers and students: from audio at any sample rate to embeddings."""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from distill.data.audio.read import Span, duration
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import Provenance
from distill.data.encoders.recordings import LONG_SECONDS, Pieces, Window, encode_pieces, pieces_of, window_batches
from distill.data.encoders.registry import Rebuildable, Spec
from distill.data.encoders.windows import Covered, Tiling, Windows, encode_apart, encode_in_windows
from distill.data.errors import UserError, first_line

T = TypeVar("T")

_RECORDING = Windows()  # how an encoder without windows cuts clips that are too long for it
_OF_DTYPE = re.compile(r"dtype|[Tt]ype|not implemented for|Half|BFloat16|Double|[Ff]loat")  # errors of PyTorch


class Encoder(nn.Module, Rebuildable, ABC):
    """A network that encodes audio as embeddings.

    A subclass sets `sample_rate` and implements `encode`. Each clip of a padded batch must have the same embeddings as
    alone. The sizes of the embeddings are not declared: they are those of two seconds of noise.

    Attributes:
        sample_rate: Rate of the audio that `encode` gets, in Hz.
        licence: Licence of the weights, as an SPDX name or a text.
        source: Where the weights come from and how to get them.
        windows: How long clips are cut into windows. By default, clips are encoded whole.
        labels: Label of each column of the logits. AudioSet's labels are its `mid`s, sorted.
        provenance: The file of the weights. None without a file.
        reading: What was understood of a file that states little, for the terminal.
        longest_window: Longest input of the network, in seconds.
        weights: A class without weights and files of its own sets it to None; a store refuses it otherwise.
        whole_seconds: Longest clip that is encoded whole without windows, in seconds. Memory grows with the length of
            a clip, so longer ones are cut into windows of 10 s.
        later_options: Options that an earlier version did not have, with the values that change nothing. With these
            values they are no part of the fingerprint, so that older stores stay valid.
        shaped_by: Other values of the checkpoint that determine an embedding, such as input statistics. They are part
            of the fingerprint.
    """

    sample_rate: int
    licence: str = "not stated"
    source: str = "not stated"
    windows: Windows = Windows(seconds=0)
    longest_window: float = math.inf
    whole_seconds: float = 120.0
    labels: tuple[str, ...] = ()
    provenance: Provenance | None = None
    reading: str = ""
    shaped_by: Mapping[str, Any] = MappingProxyType({})
    later_options: Mapping[str, Any] = MappingProxyType({})
    _dtype = torch.float32  # of the last move; an encoder without weights has no other record
    _covered: Mapping[float, Covered] = MappingProxyType({})

    @abstractmethod
    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at `self.sample_rate`."""

    def forward(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at any sample rate. Long clips are encoded in windows.

        Raises:
            UserError: the encoder was moved to a data type that it does not support.
        """
        batch = batch.resample(self.sample_rate)
        with self._clear_dtype():
            if batch.waveform.shape[1] <= self.longest_whole * self.sample_rate:
                found = self.encode(batch)
            elif self.windows.seconds:
                found = self.encode_in_windows(batch)
            else:
                found = encode_apart(batch, self.longest_whole, self.encode, self.encode_in_windows)
            return self.classified(found)

    @contextmanager
    def _clear_dtype(self) -> Iterator[None]:
        """Turn PyTorch's error about data types into a UserError, if the encoder was moved to another one."""
        try:
            yield
        except RuntimeError as error:
            if self.dtype == torch.float32 or not _OF_DTYPE.search(str(error)):
                raise
            raise UserError(
                f"{type(self).__name__} does not support {self.dtype} ({first_line(error)}); keep it in float32; "
                "--arithmetic.precision bfloat16 is the faster arithmetic (in Python: distill.Arithmetic)"
            ) from error

    def classified(self, embeddings: Embeddings) -> Embeddings:
        """Return what the network returns for clips, with the logits of a classifier if the encoder has one."""
        return embeddings

    def encode_in_windows(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at `self.sample_rate`, window by window."""
        return encode_in_windows(self.encode, batch, self.tiling)

    def encode_pieces(self, pieces: Pieces, frames: bool = True) -> Embeddings:
        """Encode one clip that comes in pieces. The result is that of the whole clip, in memory that is bounded.

        Args:
            pieces: Returns the samples of the clip at `self.sample_rate`, one piece after another.
            frames: Whether the frames are returned. Their memory grows with the length of the clip.

        Returns:
            The embeddings of the clip, a batch of one. Without `frames`, its only frame is the clip embedding.
        """
        coming, limit = pieces(), self.longest_whole * self.sample_rate
        held: list[Tensor] = []
        for piece in coming:
            held.append(piece)
            if sum(map(len, held)) > limit:
                break
        else:
            return self(AudioBatch.of(torch.cat(held), self.sample_rate).to(self.device))
        found = encode_pieces(self.encode, chain(held, coming), self.tiling, self.sample_rate, self.device, frames)
        return self.classified(found)

    @property
    def longest_whole(self) -> float:
        """Longest clip that is encoded as it is, in seconds."""
        if not self.windows.seconds:
            # A network with a limit and without windows uses only the beginning of a clip, which needs little memory.
            return self.whole_seconds if self.longest_window == math.inf else math.inf
        return self.windows.seconds if self.windows.hop is None else self.tiling.whole_seconds

    @property
    def tiling(self) -> Tiling:
        """How long clips are cut: by `windows`, or into windows of 10 s."""
        return (self.windows if self.windows.seconds else _RECORDING).tiling(self.covered)

    @property
    def blind_edge(self) -> float:
        """Seconds at the end of a window that no frame covers. By default, windows overlap by them."""
        seconds = self.tiling.seconds
        return max(0.0, seconds - self.covered(seconds).seconds)

    def covered(self, seconds: float) -> Covered:
        """Return the part of a window of `seconds` that its frames cover. It is measured once, on noise."""
        if seconds not in self._covered:
            noise = AudioBatch.of(self._noise(seconds), self.sample_rate)
            embeddings = self._evaluate(partial(self.encode, noise.to(self.device)))
            times = embeddings.frame_times[embeddings.frame_mask[0]].double().tolist()
            part = Covered(0.0, seconds)
            if len(times) > 1:
                hop = (times[-1] - times[0]) / (len(times) - 1)
                start = times[0] - hop / 2
                part = Covered(start, start + round(len(times) * hop * self.sample_rate) / self.sample_rate)
            self._covered = {**self._covered, seconds: part}
        return self._covered[seconds]

    def _noise(self, seconds: float) -> Tensor:
        samples = round(seconds * self.sample_rate)
        return torch.randn(1, samples, generator=torch.Generator().manual_seed(0)) * 0.1

    def embed(self, waveform: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Embeddings:
        """Encode waveforms in evaluation mode, without gradients, on the device of the encoder.

        Args:
            waveform: Samples in [-1, 1], one channel per clip, as a tensor or NumPy array. Shape (samples,) or
                (batch, samples).
            sample_rate: In Hz.
            lengths: Valid samples of each clip, if clips are padded. Shape (batch,). None means all samples.

        Raises:
            ValueError: the waveform has another number of dimensions, integers, no samples, or samples that are not
                finite, or the sample rate is not a whole number of Hz.
        """
        batch = AudioBatch.of(torch.as_tensor(waveform), sample_rate, lengths)
        if batch.waveform.shape[1] == 0:
            raise ValueError("the waveform has no samples")
        if not batch.waveform.isfinite().all():
            raise ValueError("the waveform has samples that are NaN or infinite")
        return self._evaluate(partial(self, batch.to(self.device)))

    def embed_file(self, path: str | os.PathLike[str], frames: bool = True) -> Embeddings:
        """Encode an audio file of any length, as `embed` does. More than 2 minutes are read piece by piece.

        Args:
            path: The file.
            frames: Whether the frames are returned. Their memory grows with the length of the file.

        Returns:
            The embeddings of the file, a batch of one. Without `frames`, its only frame is the clip embedding.

        Raises:
            AudioError: the file cannot be read.
        """
        pieces = pieces_of(path, Span(), self.sample_rate)
        if duration(path) > LONG_SECONDS:
            return self._evaluate(partial(self.encode_pieces, pieces, frames))
        found = self.embed(torch.cat(list(pieces())), self.sample_rate)
        return found if frames else Embeddings.of_clip(found.clip)._replace(logits=found.logits)

    def windows_of(self, path: str | os.PathLike[str], windows: Windows | None = None) -> Iterator[Window]:
        """Encode an audio file of any length window by window, in the memory of 8 windows.

        Args:
            path: The file.
            windows: Length and hop of the windows. None: those of the encoder; without any, windows of 10 s.

        Yields:
            Start, end and embeddings of each window, in order.

        Raises:
            AudioError: the file cannot be read.
            ValueError: the windows have 0 seconds, or more than the network processes at once.
        """
        if windows is not None and not 0 < windows.seconds <= self.longest_window:
            raise ValueError(f"windows of {windows.seconds:g} s: must be above 0 and at most {self.longest_window:g} s")
        tiling = self.tiling if windows is None else windows.tiling(self.covered)
        is_cut_further = tiling.seconds > (self.windows.seconds or self.longest_whole)
        encode, rate = self if is_cut_further else self._encode_classified, self.sample_rate
        for starts, batch in window_batches(pieces_of(path, Span(), rate)(), tiling, rate):
            found = self._evaluate(partial(encode, batch.to(self.device)))
            for row, (start, length) in enumerate(zip(starts, batch.lengths.tolist(), strict=True)):
                yield Window(start / rate, (start + length) / rate, found.row(row))

    def _encode_classified(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at `self.sample_rate` of clips that fit the network."""
        return self.classified(self.encode(batch))

    @torch.inference_mode()
    def _evaluate(self, function: Callable[[], T]) -> T:
        """Call a function with the encoder in evaluation mode, without gradients."""
        training = self.training
        self.eval()
        try:
            return function()
        finally:
            self.train(training)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights and of the embeddings. The waveform stays float32: cast features to this type."""
        return next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), self._dtype)

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._dtype = function(torch.zeros(1, dtype=self._dtype)).dtype
        return super()._apply(function, recurse)  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        """Device of the weights. The CPU for an encoder without weights."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @cached_property
    def _probe(self) -> Embeddings:
        """Embeddings of two seconds of noise, for the sizes of the encoder."""
        embeddings = self.embed(self._noise(2.0), self.sample_rate)
        return Embeddings(*(tensor.cpu() for tensor in embeddings))

    @property
    def clip_dim(self) -> int:
        """Size of the embedding of a clip."""
        return self._probe.clip.shape[-1]

    @property
    def frame_dim(self) -> int:
        """Size of the embedding of a frame."""
        return self._probe.frames.shape[-1]

    @property
    def frame_hop(self) -> float:
        """Seconds from one frame to the next. 0 for an encoder of whole clips."""
        times = self._probe.frame_times
        return float(times.double().diff().median()) if len(times) > 1 else 0.0  # median, since windows may leave gaps

    def cut_in(self, windows: Windows) -> None:
        """Set the windows, also in the spec, so that stores with other windows are not mixed."""
        self.windows = windows
        if self.spec is not None:
            self.spec = Spec(self.spec.name, {**self.spec.options, "windows": windows})

    def parameter_count(self) -> int:
        """Return the number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())
