"""Excerpts for calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from distill.data.clips.sources import Data
from distill.data.errors import UserError
from distill.run.excerpts import read_excerpts


def test_two_thirds_calibrate_and_the_others_check(sounds: Any) -> None:
    folder = sounds(9)
    (Path(folder) / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(Path(folder) / "long.wav", np.full(16_000 * 6, 0.1, np.float32), 16_000)
    calibration, checked = read_excerpts(Data.of(str(folder)), 8_000)
    assert (len(calibration), len(checked)) == (6, 4)
    found = [*calibration, *checked]
    assert all(clip.ndim == 2 and clip.dtype == np.float32 for clip in found)
    assert max(clip.shape[1] for clip in found) == 40_000  # 5 s
    assert min(clip.shape[1] for clip in found) >= 800


def test_too_few_clips_are_refused(sounds: Any) -> None:
    with pytest.raises(UserError, match=r"--int8 .* has 3 usable clips; at least 6 are required"):
        read_excerpts(Data.of(str(sounds(3))), 8_000)
