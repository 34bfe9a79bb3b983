from __future__ import annotations

import numpy as np
import torch

from distill.adapters.auto_extractor import StudentFeatureExtractor


def test_clips_are_resampled_and_padded(folder: str) -> None:
    extractor = StudentFeatureExtractor.from_pretrained(folder)
    assert extractor.sampling_rate == 32_000
    found = extractor([torch.randn(8_000), np.zeros(4_000, np.float32)], sampling_rate=16_000, return_tensors="pt")
    assert found["input_values"].shape == (2, 16_000)
    assert found["attention_mask"].sum(1).tolist() == [16_000, 8_000]


def test_one_clip_is_a_batch_of_one(folder: str) -> None:
    extractor = StudentFeatureExtractor.from_pretrained(folder)
    for clip in (np.zeros(400, np.float32), torch.zeros(400), [0.0] * 400):
        assert extractor(clip, return_tensors="np")["input_values"].shape == (1, 400)
