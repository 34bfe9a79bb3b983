"""The base of teachers and students: from audio at any sample rate to embeddings."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import Provenance
from distill.data.encoders.registry import Rebuildable, Spec
from distill.data.encoders.windows import Windows, encode_in_windows
from distill.data.errors import UserError, first_line

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
        longest_window: Longest input of the network, in seconds.
        shaped_by: Other values of the checkpoint that determine an embedding, such as input statistics. They are part
            of the fingerprint.
    """

    sample_rate: int
    licence: str = "not stated"
    source: str = "not stated"
    windows: Windows = Windows(seconds=0)
    longest_window: float = math.inf
    labels: tuple[str, ...] = ()
    provenance: Provenance | None = None
    shaped_by: Mapping[str, Any] = MappingProxyType({})
    _dtype = torch.float32  # of the last move; an encoder without weights has no other record

    @abstractmethod
    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at `self.sample_rate`."""

    def forward(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at any sample rate. Long clips are encoded in windows.

        Raises:
            UserError: the encoder was moved to a data type that it does not support.
        """
        try:
            return encode_in_windows(self.encode, batch.resample(self.sample_rate), self.windows)
        except RuntimeError as error:
            if self.dtype == torch.float32 or not _OF_DTYPE.search(str(error)):
                raise
            raise UserError(
                f"{type(self).__name__} does not support {self.dtype} ({first_line(error)}); keep it in float32; "
                "--arithmetic.precision bfloat16 is the faster arithmetic (in Python: distill.Arithmetic)"
            ) from error

    @torch.inference_mode()
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
        training = self.training
        self.eval()
        try:
            return self(batch.to(self.device))
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
        noise = torch.randn(1, 2 * self.sample_rate, generator=torch.Generator().manual_seed(0)) * 0.1
        embeddings = self.embed(noise, self.sample_rate)
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
