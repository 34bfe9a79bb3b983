"""The two values that cross borders: what goes into an encoder and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.resample import resample, resampled_length

_CHANNELS = 8  # at the most, of what looks like (samples, channels)


@dataclass(frozen=True)
class AudioBatch:
    """A batch of mono clips. Frozen: an encoder never changes what it was given.

    Args:
        waveform: Samples in [-1, 1], float32, zero after the end of each clip. Shape (batch, samples).
        lengths: Valid samples of each clip, int64. Shape (batch,).
        sample_rate: Samples per second, in Hz.
        ids: One stable name per clip; the key into an `EmbeddingStore`.
        labels: Multi-hot targets, float32. Shape (batch, classes); no classes where the data has no labels.
    """

    waveform: Tensor
    lengths: Tensor
    sample_rate: int
    ids: tuple[str, ...]
    labels: Tensor

    @classmethod
    def of(cls, waveform: Tensor, sample_rate: int, lengths: Tensor | None = None) -> AudioBatch:
        """A batch without names or labels, from (samples,) or (batch, samples); `lengths` defaults to all samples.

        Raises:
            ValueError: integers, another number of dimensions, channels in the last one, or an impossible sample rate
                or length.
        """
        waveform = torch.atleast_2d(torch.as_tensor(waveform))
        if not waveform.is_floating_point():
            signed = waveform.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
            advice = f": divide by {torch.iinfo(waveform.dtype).max + 1}" if signed else ""
            raise ValueError(f"waveform holds {waveform.dtype}, and samples in [-1, 1] are wanted{advice}")
        if not isinstance(sample_rate, SupportsIndex) or isinstance(sample_rate, bool) or int(sample_rate) < 1:
            raise ValueError(f"sample_rate {sample_rate!r}: a whole number of Hz is wanted")
        sample_rate = int(sample_rate)
        waveform = waveform.float()
        if waveform.dim() != 2:
            raise ValueError(
                f"waveform has shape {tuple(waveform.shape)}; wanted: (samples,) or (batch, samples), "
                "one channel a clip"
            )
        clips, samples = waveform.shape
        if not clips:
            raise ValueError("the batch has no clips")
        if samples <= _CHANNELS < clips:
            raise ValueError(
                f"waveform has shape {(clips, samples)}, which seems to be (samples, channels); wanted: (samples,) or "
                "(batch, samples), one channel a clip"
            )
        if lengths is None:
            lengths = torch.full((clips,), samples, device=waveform.device)
        else:
            lengths = torch.as_tensor(lengths, device=waveform.device)
            if lengths.shape != (clips,) or not 1 <= int(lengths.min()) <= int(lengths.max()) <= samples:
                raise ValueError(
                    f"lengths {lengths.tolist()}: for each of {clips} clips, 1 to {samples} samples are wanted"
                )
            # A filter near the end of a clip also covers samples after the end; these must be 0.
            waveform = waveform.masked_fill(~frame_mask(lengths, samples), 0)
        ids = tuple(str(index) for index in range(clips))
        return cls(waveform, lengths, sample_rate, ids, waveform.new_zeros(clips, 0))

    def __len__(self) -> int:
        return len(self.waveform)

    def resample(self, sample_rate: int) -> AudioBatch:
        """The same clips at another rate; `self` if they are at that rate already."""
        if sample_rate == self.sample_rate:
            return self
        lengths = -(-self.lengths * sample_rate // self.sample_rate)
        waveform = resample(self.waveform, self.sample_rate, sample_rate)
        # The filter writes samples after the end of a padded clip. Without padding, the clip would end there.
        waveform = waveform.masked_fill(~frame_mask(lengths, waveform.shape[1]), 0)
        return replace(self, waveform=waveform, lengths=lengths, sample_rate=sample_rate)

    def with_waveform(self, waveform: Tensor) -> AudioBatch:
        """The same clips with other samples, of the same shape."""
        return replace(self, waveform=waveform)

    def mix(self, partners: Tensor, shares: Tensor) -> AudioBatch:
        """Each clip times its share, plus the clip at `partners` times the rest, labels too; both (batch,)."""
        share = shares.unsqueeze(1)
        return replace(
            self,
            waveform=share * self.waveform + (1 - share) * self.waveform[partners],
            lengths=torch.maximum(self.lengths, self.lengths[partners]),
            labels=share * self.labels + (1 - share) * self.labels[partners],
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> AudioBatch:
        """The same clips on another device. Lightning calls it."""
        return replace(
            self,
            waveform=self.waveform.to(device, non_blocking=non_blocking),
            lengths=self.lengths.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> AudioBatch:
        """The same clips in page-locked memory. The loader calls it."""
        return replace(self, waveform=self.waveform.pin_memory(), lengths=self.lengths.pin_memory())


class Embeddings(NamedTuple):
    """What an encoder makes of a batch.

    Args:
        clip: One vector per clip. Shape (batch, clip_dim).
        frames: One vector per step of time. Shape (batch, time, frame_dim); time == 1 for encoders of whole clips.
        frame_times: Centre of each frame, in seconds. Shape (time,).
        frame_mask: True where the frame lies inside the clip. Shape (batch, time), bool.
        logits: Class scores before any squashing. Shape (batch, classes); no classes without a head.
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
        """Embeddings of an encoder with frames; the clip's is the mean of its valid frames unless given."""
        if clip is None:
            clip = masked_mean(frames, frame_mask)
        return cls(clip, frames, frame_times, frame_mask, clip.new_zeros(len(clip), 0))

    def mix(self, partners: Tensor, shares: Tensor) -> Embeddings:
        """Clip and frame embeddings of mixed clips, as if mixing sounds mixed them; both arguments (batch,)."""
        clip, frames = shares.unsqueeze(1), shares.view(-1, 1, 1)
        return self._replace(
            clip=clip * self.clip + (1 - clip) * self.clip[partners],
            frames=frames * self.frames + (1 - frames) * self.frames[partners],
            frame_mask=self.frame_mask & self.frame_mask[partners],
        )

    @classmethod
    def of_clip(cls, clip: Tensor) -> Embeddings:
        """Embeddings of an encoder of whole clips, from (batch, clip_dim)."""
        times, mask = clip.new_zeros(1), clip.new_ones(len(clip), 1, dtype=torch.bool)
        return cls(clip, clip.unsqueeze(1), times, mask, clip.new_zeros(len(clip), 0))


class Clip(NamedTuple):
    """A decoded clip, on its way into a batch.

    Args:
        id: Its name.
        samples: Float32 in [-1, 1], or int16 as they lie in a file. Shape (samples,).
        sample_rate: Its own, in Hz.
        labels: Shape (classes,).
    """

    id: str
    samples: Tensor
    sample_rate: int
    labels: Tensor


def collate(clips: Sequence[Clip], sample_rate: int) -> AudioBatch:
    """Resample clips to `sample_rate` Hz, each into its row of one padded batch."""
    lengths = [resampled_length(len(clip.samples), clip.sample_rate, sample_rate) for clip in clips]
    waveform = torch.empty(len(clips), max(lengths))
    # Backwards: the last clips were decoded last and the first are encoded first, so both are still in a cache.
    for clip, row, length in reversed(list(zip(clips, waveform, lengths, strict=True))):
        resample(clip.samples, clip.sample_rate, sample_rate, into=row[:length])
        row[length:] = 0
    return AudioBatch(
        waveform=waveform,
        lengths=torch.tensor(lengths),
        sample_rate=sample_rate,
        ids=tuple(clip.id for clip in clips),
        labels=torch.stack([clip.labels for clip in clips]),
    )
