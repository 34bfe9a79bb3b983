"""Run X-ARES from its stage 1, with soundfile in place of torchaudio's decoder, which needs torchcodec and FFmpeg."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import soundfile as sf
import torch
import torchaudio


def load(file: Any, *args: Any, **options: Any) -> tuple[torch.Tensor, int]:
    """Return samples (channels, samples) and the rate, as torchaudio.load does."""
    samples, rate = sf.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


torchaudio.load = load
sys.argv = ["xares.run", *sys.argv[1:], "--from-stage", "1", "--max-jobs", "0"]
runpy.run_module("xares.run", run_name="__main__")
