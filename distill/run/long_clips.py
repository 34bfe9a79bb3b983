"""Clips that are longer than an encoder's input: how they are cut, for the fingerprint of a store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from distill.data.audio.read import as_text
from distill.data.clips.dataset import Crop, row_seconds
from distill.data.clips.manifest import Manifest
from distill.data.encoders.encoder import Encoder
from distill.data.errors import StoreError
from distill.data.store.plan import Plan
from distill.teachers.teacher import Teacher

_FIELD = "long_clips"


def long_clips_fingerprint(encoder: Encoder, crop: Crop, manifest: Manifest, path: Path) -> dict[str, Any]:
    """Return how an encoder cuts the clips that are longer than its input, for the fingerprint of a store.

    Earlier versions did not overlap windows by default, and encoded clips of any length whole without windows. Where
    this makes no difference, the result is empty, so that their stores are continued.

    Args:
        encoder: Encoder of the clips.
        crop: Part of each clip that is embedded.
        manifest: Clips of the store.
        path: Folder of the store. It need not exist.

    Raises:
        StoreError: `path` holds a store of an earlier version with embeddings of long clips.
    """
    fingerprint = _fingerprint(encoder, crop)
    if not fingerprint or not (path / "plan.json").is_file():
        return fingerprint
    if _FIELD not in Plan.read(path).fingerprint:
        _refuse_long_clips(encoder, crop, manifest, path)
        return {}
    return fingerprint


def _fingerprint(encoder: Encoder, crop: Crop) -> dict[str, Any]:
    """Return the fingerprint of a new store."""
    is_read = isinstance(encoder, Teacher) and encoder.store is not None
    if is_read or (crop.seconds or math.inf) <= encoder.longest_whole:
        return {}
    tiling = encoder.tiling
    if not encoder.windows.seconds:
        above = {"above_seconds": encoder.longest_whole}
        return {_FIELD: {**above, "seconds": tiling.seconds, "hop": tiling.hop}}
    overlaps_by_default = encoder.windows.hop is None and tiling.hop < tiling.seconds
    return {_FIELD: {"hop": tiling.hop}} if overlaps_by_default else {}


def _refuse_long_clips(encoder: Encoder, crop: Crop, manifest: Manifest, path: Path) -> None:
    """Raise StoreError if a clip is long, since a store of an earlier version has another embedding of it."""
    limit = encoder.longest_whole
    long = next((row for row in manifest.rows if row_seconds(row) > limit), None)
    if long is None:
        return
    before = f"encoded clips of more than {limit:g} s whole"
    advice = f"--teacher precomputed --teacher.store {path} reads it"
    if encoder.windows.seconds:
        before = f"cut clips of more than {limit:g} s into windows that do not overlap"
        advice = "--teacher.windows.hop 0 continues it"
    raise StoreError(
        f"{path} is of an earlier version, which {before}, such as {as_text(long.id)}: {advice}; "
        "or choose another folder"
    )
