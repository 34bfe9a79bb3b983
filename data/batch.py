"""The input of an encoder, `AudioBatch`, and its output, `Embeddings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.resample import resample
from distill.data.audio.sinc import resampled_length

_MAX_CHANNELS = 8  # a waveform of (many, at most 8) is taken for (samples, channels)


@dataclass(frozen=True)
class AudioBatch:
    """A batch of mono clips. It is frozen, since encoders must not change their input.

    Args:
        waveform: Samples in [-1, 1], float32, zero after the end of each clip. Shape (batch, samples).
        lengths: Valid samples of each clip, int64. Shape (batch,).
        sample_rate: Samples per second, in Hz.
        ids: One stable name per clip: its key in an `EmbeddingStore`.
        labels: Multi-hot labels, float32. Shape (batch, classes). Without labels, classes is 0.
    """

    waveform: Tensor
    lengths: Tensor
    sample_rate: int
    ids: tuple[str, ...]
    labels: Tensor

    @classmethod
    def of(cls, waveform: Tensor, sample_rate: int, lengths: Tensor | None = None) -> AudioBatch:
        """Return a batch without names or labels.

        Args:
            waveform: Samples in [-1, 1], floating point. Shape (samples,) or (batch, samples).
            sample_rate: In Hz.
            lengths: Valid samples of each clip. Shape (batch,). None means all samples.

        Raises:
            ValueError: the waveform holds integers, has another number of dimensions or has channels in the last
                dimension, or the sample rate or a length is impossible.
        """
        waveform = torch.atleast_2d(torch.as_tensor(waveform))
        if not waveform.is_floating_point():
            signed = waveform.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
            advice = f"; divide by {torch.iinfo(waveform.dtype).max + 1}" if signed else ""
            raise ValueError(f"waveform has dtype {waveform.dtype}: must be floating point in [-1, 1]{advice}")
        if not isinstance(sample_rate, SupportsIndex) or isinstance(sample_rate, bool) or int(sample_rate) < 1:
            raise ValueError(f"sample_rate {sample_rate!r}: must be a whole number of Hz, at least 1")
        sample_rate = int(sample_rate)
        waveform = waveform.float()
        if waveform.dim() != 2:
            raise ValueError(
                f"waveform has shape {tuple(waveform.shape)}: must be (samples,) or (batch, samples), "
                "one channel per clip"
            )
        clips, samples = waveform.shape
        if not clips:
            raise ValueError("the batch has no clips")
        if samples <= _MAX_CHANNELS < clips:
            raise ValueError(
                f"waveform has shape {(clips, samples)}, which seems to be (samples, channels): must be (samples,) or "
                "(batch, samples), one channel per clip"
            )
        if lengths is None:
            lengths = torch.full((clips,), samples, device=waveform.device)
        else:
            lengths = torch.as_tensor(lengths, device=waveform.device)
            if lengths.shape != (clips,) or not 1 <= int(lengths.min()) <= int(lengths.max()) <= samples:
                raise ValueError(
                    f"lengths {lengths.tolist()}: must be {clips} numbers from 1 to {samples}, one per clip"
                )
            # A filter near the end of a clip also covers samples after the end; these must be 0.
            waveform = waveform.masked_fill(~frame_mask(lengths, samples), 0)
        ids = tuple(str(index) for index in range(clips))
        return cls(waveform, lengths, sample_rate, ids, waveform.new_zeros(clips, 0))

    def __len__(self) -> int:
        return len(self.waveform)

    @cached_property
    def host_lengths(self) -> Tensor:
        """`lengths` on the CPU. A batch that was moved from there still has them, so nothing waits for the device."""
        return self.lengths.cpu()

    @cached_property
    def host_labels(self) -> Tensor:
        """`labels` on the CPU, as `host_lengths`."""
        return self.labels.cpu()

    def resample(self, sample_rate: int) -> AudioBatch:
        """Return the same clips at `sample_rate` Hz, or `self` if they have this rate."""
        if sample_rate == self.sample_rate:
            return self
        lengths = -(-self.lengths * sample_rate // self.sample_rate)
        waveform = resample(self.waveform, self.sample_rate, sample_rate)
        # The filter writes samples after the end of a padded clip. Without padding, the clip would end there.
        waveform = waveform.masked_fill(~frame_mask(lengths, waveform.shape[1]), 0)
        resampled = replace(self, waveform=waveform, lengths=lengths, sample_rate=sample_rate)
        return self._keep_on_host(resampled, lambda lengths: -(-lengths * sample_rate // self.sample_rate))

    def select(self, rows: Tensor) -> AudioBatch:
        """Return the clips at `rows`, int64 on the CPU, without the padding that they do not need. Shape (clips,)."""
        samples, on_device = int(self.host_lengths[rows].max()), rows.to(self.lengths.device, non_blocking=True)
        chosen = replace(
            self,
            waveform=self.waveform[on_device, :samples],
            lengths=self.lengths[on_device],
            ids=tuple(self.ids[row] for row in rows.tolist()),
            labels=self.labels[on_device],
        )
        return self._keep_on_host(chosen, lambda lengths: lengths[rows], lambda labels: labels[rows])

    def with_waveform(self, waveform: Tensor) -> AudioBatch:
        """Return the same clips with other samples of the same shape."""
        return self._keep_on_host(replace(self, waveform=waveform))

    def mix(self, partners: Tensor, shares: Tensor) -> AudioBatch:
        """Return mixtures of clips: share * clip + (1 - share) * partner, for samples and labels.

        Args:
            partners: Row of each clip's partner, int64, on the CPU. Shape (batch,).
            shares: Share of each clip, from 0 to 1, on the CPU. Shape (batch,).
        """
        rows, share = (given.to(self.lengths.device, non_blocking=True) for given in (partners, shares.unsqueeze(1)))
        mixed = replace(
            self,
            waveform=share * self.waveform + (1 - share) * self.waveform[rows],
            lengths=torch.maximum(self.lengths, self.lengths[rows]),
            labels=share * self.labels + (1 - share) * self.labels[rows],
        )
        return self._keep_on_host(
            mixed,
            lambda lengths: torch.maximum(lengths, lengths[partners]),
            lambda labels: shares.unsqueeze(1) * labels + (1 - shares.unsqueeze(1)) * labels[partners],
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> AudioBatch:
        """Return the same clips on another device. Lightning calls this."""
        moved = replace(
            self,
            waveform=self.waveform.to(device, non_blocking=non_blocking),
            lengths=self.lengths.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )
        return self._keep_on_host(moved)

    def pin_memory(self) -> AudioBatch:
        """Return the same clips in page-locked memory. The loader calls this."""
        pinned = (tensor.pin_memory() for tensor in (self.waveform, self.lengths, self.labels))
        waveform, lengths, labels = pinned
        return replace(self, waveform=waveform, lengths=lengths, labels=labels)

    def _keep_on_host(
        self,
        made: AudioBatch,
        lengths: Callable[[Tensor], Tensor] = lambda lengths: lengths,
        labels: Callable[[Tensor], Tensor] = lambda labels: labels,
    ) -> AudioBatch:
        """Return a batch made of this one that knows what is known here on the CPU, changed by two functions."""
        for name, own, change in (("lengths", self.lengths, lengths), ("labels", self.labels, labels)):
            known = self.__dict__.get(f"host_{name}", own)
            if known.device.type == "cpu" and not torch.compiler.is_compiling():
                made.__dict__[f"host_{name}"] = change(known)
        return made


class Embeddings(NamedTuple):
    """The output of an encoder for a batch.

    Attributes:
        clip: One vector per clip. Shape (batch, clip_dim).
        frames: One vector per time step. Shape (batch, time, frame_dim). Encoders of whole clips have time 1.
        frame_times: Centre of each frame, in seconds. Shape (time,).
        frame_mask: True where the frame is valid. Shape (batch, time), bool.
        logits: Class scores before softmax or sigmoid. Shape (batch, classes). Without a head, classes is 0.
    """

    clip: Tensor
    frames: Tensor
    frame_times: Tensor
    frame_mask: Tensor
    logits: Tensor

    @classmethod
    def of_frames(
        cls, frames: Tensor, frame_times: Tensor, frame_mask: Tensor, clip: Tensor | None = None
    ) -> Embeddings:
        """Return the embeddings of an encoder with frames. `clip` None means the mean of each clip's valid frames."""
        if clip is None:
            clip = masked_mean(frames, frame_mask)
        return cls(clip, frames, frame_times, frame_mask, clip.new_zeros(clip.shape[0], 0))

    def row(self, number: int) -> Embeddings:
        """Return the embeddings of one clip, as a batch of one."""
        rows = slice(number, number + 1)
        return Embeddings(
            self.clip[rows], self.frames[rows], self.frame_times, self.frame_mask[rows], self.logits[rows]
        )

    def mix(self, partners: Tensor, shares: Tensor) -> Embeddings:
        """Return mixtures of the clip and frame embeddings, with the arguments of `AudioBatch.mix`.

        A frame is valid where it is valid in both clips.
        """
        rows, shares = (given.to(self.clip.device, non_blocking=True) for given in (partners, shares))
        clip, frames = shares.unsqueeze(1), shares.view(-1, 1, 1)
        return self._replace(
            clip=clip * self.clip + (1 - clip) * self.clip[rows],
            frames=frames * self.frames + (1 - frames) * self.frames[rows],
            frame_mask=self.frame_mask & self.frame_mask[rows],
        )

    @classmethod
    def of_clip(cls, clip: Tensor) -> Embeddings:
        """Return the embeddings of an encoder of whole clips, from (batch, clip_dim)."""
        times, mask = clip.new_zeros(1), clip.new_ones(clip.shape[0], 1, dtype=torch.bool)
        return cls(clip, clip.unsqueeze(1), times, mask, clip.new_zeros(clip.shape[0], 0))


class Clip(NamedTuple):
    """A decoded clip, before it is resampled into a batch.

    Args:
        id: Name of the clip.
        samples: float32 in [-1, 1], or int16 as stored in a file. Shape (samples,).
        sample_rate: Rate of the file, in Hz.
        labels: Multi-hot labels. Shape (classes,).
        partner: The clip with which it is mixed. None: it is not mixed.
        share: Share of the clip in the mixture, from 0 to 1; the partner has the rest.
    """

    id: str
    samples: Tensor
    sample_rate: int
    labels: Tensor
    partner: Clip | None = None
    share: float = 1.0

    def length(self, sample_rate: int) -> int:
        """Return the number of samples at `sample_rate` Hz: those of the longer clip of a mixture."""
        own = resampled_length(len(self.samples), self.sample_rate, sample_rate)
        return own if self.partner is None else max(own, self.partner.length(sample_rate))

    def write(self, sample_rate: int, out: Tensor) -> None:
        """Write the samples at `sample_rate` Hz, mixed as by `AudioBatch.mix`, then zeros. Shape (samples,)."""
        own = resampled_length(len(self.samples), self.sample_rate, sample_rate)
        resample(self.samples, self.sample_rate, sample_rate, out=out[:own])
        out[own:] = 0
        if self.partner is not None:
            length = self.partner.length(sample_rate)
            other = torch.empty(length)
            self.partner.write(sample_rate, other)
            out.mul_(self.share)[:length].add_(other, alpha=1 - self.share)

    def mixed_labels(self) -> Tensor:
        """Return the labels, mixed as by `AudioBatch.mix`. Shape (classes,)."""
        if self.partner is None:
            return self.labels
        return self.share * self.labels + (1 - self.share) * self.partner.labels


def collate(clips: Sequence[Clip], sample_rate: int) -> AudioBatch:
    """Resample clips to `sample_rate` Hz, each into its row of a zero-padded batch. Clips with a partner are mixed."""
    lengths = [clip.length(sample_rate) for clip in clips]
    waveform = torch.empty(len(clips), max(lengths))
    # In reverse order, for the processor's cache: the last clips were decoded last, and the first are encoded first.
    for clip, row in reversed(list(zip(clips, waveform, strict=True))):
        clip.write(sample_rate, row)
    return AudioBatch(
        waveform=waveform,
        lengths=torch.tensor(lengths),
        sample_rate=sample_rate,
        ids=tuple(clip.id for clip in clips),
        labels=torch.stack([clip.mixed_labels() for clip in clips]),
    )
