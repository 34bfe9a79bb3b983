"""The base of teachers and students: from audio at any sample rate to embeddings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import Provenance
from distill.data.encoders.registry import Rebuildable, Spec
from distill.data.encoders.windows import Windows, encode_in_windows


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
        weights: A class without weights and files of its own sets it to None; a store refuses it otherwise.
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

    @abstractmethod
    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at `self.sample_rate`."""

    def forward(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch at any sample rate. Long clips are encoded in windows."""
        return encode_in_windows(self.encode, batch.resample(self.sample_rate), self.windows)

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
