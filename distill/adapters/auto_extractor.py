"""The feature extractor of a student for transformers. It resamples and pads; the features are the student's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from distill.adapters.clips import batch_of
from distill.data.audio.frames import frame_mask


class StudentFeatureExtractor(SequenceFeatureExtractor):  # type: ignore[misc]
    """Turns clips of any lengths and rates into the input of a `StudentModel`.

    Args:
        feature_size: 1, a sample.
        sampling_rate: Rate of the student, in Hz.
        padding_value: 0.
        options: Those of the base class.
    """

    model_input_names = ("input_values", "attention_mask")

    def __init__(
        self, feature_size: int = 1, sampling_rate: int = 16_000, padding_value: float = 0.0, **options: Any
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **options)

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **options: Any
    ) -> BatchFeature:
        """Return "input_values" (batch, samples) and "attention_mask" (batch, samples).

        Args:
            raw_speech: A clip, or a list of clips: samples in [-1, 1] of shape (samples,) or (channels, samples).
            sampling_rate: Their rate in Hz. None: that of the student.
            return_tensors: "pt" or "np". None: arrays.
            options: Not used: clips are always padded to the longest.

        Raises:
            ValueError: a clip is not audio.
        """
        is_list = isinstance(raw_speech, Sequence) and len(raw_speech) > 0 and not isinstance(raw_speech[0], float)
        rate = sampling_rate or self.sampling_rate
        clips = [{"array": clip, "sampling_rate": rate} for clip in (raw_speech if is_list else [raw_speech])]
        batch = batch_of(clips, self.sampling_rate)
        mask = frame_mask(batch.lengths, batch.waveform.shape[1]).to(torch.int32)
        values = {"input_values": batch.waveform.numpy(), "attention_mask": mask.numpy()}
        return BatchFeature(values, tensor_type=return_tensors)
