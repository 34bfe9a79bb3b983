"""Excerpts of clips as samples, for the calibration of exported files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import Data, read_manifest
from distill.data.errors import UserError
from distill.runtimes.graph import SHORTEST_SECONDS

CALIBRATION, CHECKED = 64, 32
SECONDS = 5.0
_FEWEST = 6

Excerpts = list[NDArray[np.float32]]


def read_excerpts(data: Data, sample_rate: int) -> tuple[Excerpts, Excerpts]:
    """Return random excerpts of at most 5 s, from the middle of the clips. Clips that cannot be read are left out.

    Args:
        data: Where the clips are.
        sample_rate: Rate of the excerpts, in Hz.

    Returns:
        Two thirds for the calibration, at most 64, and one third for the comparison. Each has shape (1, samples).

    Raises:
        UserError: there are fewer than 6 usable clips.
    """
    manifest = read_manifest(data)
    clips = ClipDataset(manifest, sample_rate, Crop(SECONDS))
    shortest = round(SHORTEST_SECONDS * sample_rate)
    found: Excerpts = []
    for row in np.random.default_rng(0).permutation(len(manifest)):
        batch = clips[int(row)].batch
        if batch is not None:
            waveform = batch.resample(sample_rate).waveform.numpy()
            found.append(np.pad(waveform, ((0, 0), (0, max(0, shortest - waveform.shape[1])))))
        if len(found) == CALIBRATION + CHECKED:
            break
    if len(found) < _FEWEST:
        raise UserError(f"--int8 {data.path}: has {len(found)} usable clips; at least {_FEWEST} are required")
    calibration = len(found) * CALIBRATION // (CALIBRATION + CHECKED)
    return found[:calibration], found[calibration:]
