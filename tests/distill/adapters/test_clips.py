from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from distill.adapters.clips import batch_of


def test_clips_of_several_rates_lengths_and_channels_become_one_padded_batch() -> None:
    mono = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
    batch = batch_of(
        [
            {"array": mono, "sampling_rate": 8_000},
            {"array": np.stack([mono, -mono]).astype(np.float64), "sampling_rate": 16_000},
            {"array": [0.25] * 400, "sampling_rate": 16_000},
        ],
        16_000,
    )
    assert batch.lengths.tolist() == [1600, 800, 400]
    assert batch.waveform.dtype == torch.float32
    assert batch.waveform[1].abs().max() < 1e-7  # the two channels cancel
    assert batch.waveform[2].tolist() == [0.25] * 400 + [0.0] * 1200


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(0, np.float32), "clip 1: .* at least one sample"),
        (np.zeros(8, np.int16), "int16"),
        (np.zeros((1, 1, 8)), r"\(1, 1, 8\)"),
        (np.array([0.0, np.nan]), "clip 1 .* NaN"),
    ],
)
def test_a_clip_that_is_not_audio_is_named(array: Any, said: str) -> None:
    good = {"array": np.zeros(8, np.float32), "sampling_rate": 8_000}
    with pytest.raises(ValueError, match=said):
        batch_of([good, {"array": array, "sampling_rate": 8_000}], 8_000)
