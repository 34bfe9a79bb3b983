"""What teachers and students have in common: audio in, embeddings out, at any sample rate."""

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
    """Turns audio into embeddings.

    A subclass sets `sample_rate` and writes `encode`; a padded batch must give what each clip alone gives. Sizes
    are found by encoding a second of noise, so they need not be declared and cannot be declared wrongly.

    Attributes:
        sample_rate: Rate of the audio that `encode` gets, in Hz.
        licence: Of the weights, as an SPDX name or in words.
        source: Where the weights come from and how to get them.
        windows: How long clips are cut; by default the network sees clips whole.
        labels: What each column of the logits means; AudioSet's as its `mid`s, sorted.
        provenance: The file that the weights were read from, where there is one.
        longest_window: Seconds that the network sees at once, at the most.
        shaped_by: What else of the checkpoint shapes an embedding, such as statistics of its input; for fingerprints.
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
        """Embed a batch given at `self.sample_rate`."""

    def forward(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch given at any sample rate, in windows where it is long."""
        return encode_in_windows(self.encode, batch.resample(self.sample_rate), self.windows)

    @torch.inference_mode()
    def embed(self, waveform: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Embeddings:
        """Embed waveforms, for people: evaluation mode, no gradient, on the encoder's device.

        Args:
            waveform: Samples in [-1, 1], one channel a clip. Shape (samples,) or (batch, samples); a NumPy array will
                do.
            sample_rate: In Hz, any.
            lengths: Valid samples of each clip, where shorter ones are padded. Shape (batch,).

        Raises:
            ValueError: the waveform has another number of dimensions, integers, no samples, or samples that are not
                finite; or the sample rate is no whole number of Hz.
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
        """Where the weights are; the CPU for an encoder without any."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @cached_property
    def _probe(self) -> Embeddings:
        """Embeddings of two seconds of noise: their shapes are the encoder's."""
        noise = torch.randn(1, 2 * self.sample_rate, generator=torch.Generator().manual_seed(0)) * 0.1
        embeddings = self.embed(noise, self.sample_rate)
        return Embeddings(*(tensor.cpu() for tensor in embeddings))

    @property
    def clip_dim(self) -> int:
        """Size of a clip's embedding."""
        return self._probe.clip.shape[-1]

    @property
    def frame_dim(self) -> int:
        """Size of a frame's embedding."""
        return self._probe.frames.shape[-1]

    @property
    def frame_hop(self) -> float:
        """Seconds from one frame to the next; 0 for an encoder of whole clips."""
        times = self._probe.frame_times
        return float(times.double().diff().median()) if len(times) > 1 else 0.0  # windows may leave gaps

    def cut_in(self, windows: Windows) -> None:
        """Cut clips in these windows from now on, and note it in the spec, so that no store mixes the two."""
        self.windows = windows
        if self.spec is not None:
            self.spec = Spec(self.spec.name, {**self.spec.options, "windows": windows})

    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())
