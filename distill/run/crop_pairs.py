"""A random sample of clips, and two crops of each, as rows of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.dataset import Crop, clip_seconds
from distill.data.clips.manifest import Manifest
from distill.data.store.reader import EmbeddingStore

MIN_CROP_SECONDS = 0.2


def draw_clips(manifest: Manifest, count: int, seed: int) -> Manifest:
    """Return at most `count` random clips, in the order of the manifest. A larger sample contains a smaller one."""
    return manifest.take(np.sort(np.random.default_rng(seed).permutation(len(manifest))[:count]))


def with_halves(clips: Manifest, crop: Crop) -> Manifest:
    """Return the clips, then the first half of the crop of each, then the second half.

    The crop is centred. The halves of a clip "a.wav" are "a.wav@half1" and "a.wav@half2". A clip has none if they would
    be shorter than 0.2 s, or if its file cannot be read.

    Args:
        clips: The clips. The headers of clips of unknown length are read.
        crop: Part of each clip that is used.
    """
    lengths = clip_seconds(clips)
    used = np.minimum(lengths, crop.seconds or np.inf)
    rows = list(clips.rows)
    halved = [number for number in range(len(rows)) if used[number] >= 2 * MIN_CROP_SECONDS]
    halves = []
    for half in (1, 2):
        for number in halved:
            row, seconds = rows[number], float(used[number])
            start = row.start + float(lengths[number] - seconds) / 2 + (half - 1) * seconds / 2
            halves.append(replace(row, id=half_id(row.id, half), start=start, duration=seconds / 2))
    return clips.subset([*rows, *halves])


def half_id(clip_id: str, half: int) -> str:
    """Return the id of the first (1) or the second (2) half of a clip."""
    return f"{clip_id}@half{half}"


def clips_in_all(clips: Manifest, stores: Sequence[EmbeddingStore]) -> Manifest:
    """Return the clips that every store has."""
    return clips.take(np.flatnonzero(_held(list(clips.ids), stores)))


def halves_in_all(clips: Manifest, stores: Sequence[EmbeddingStore]) -> tuple[list[str], list[str]]:
    """Return the ids of the first and of the second halves, of the clips whose halves every store has."""
    first, second = ([half_id(clip_id, half) for clip_id in clips.ids] for half in (1, 2))
    held = np.flatnonzero(_held(first, stores) & _held(second, stores)).tolist()
    return [first[place] for place in held], [second[place] for place in held]


def _held(ids: Sequence[str], stores: Sequence[EmbeddingStore]) -> NDArray[np.bool_]:
    """Return whether every store has an embedding of each id. Shape (ids,)."""
    return np.all([store.rows_of(ids) >= 0 for store in stores], axis=0)
