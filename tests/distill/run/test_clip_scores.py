"""Scores of clips in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.data.clips.crop import Seconds
from distill.data.clips.manifest import Manifest, Row
from distill.data.store.format import SetAside
from distill.run.clip_scores import ScoredClips

CLIPS = Manifest(Path(), [Row(name, Path(name)) for name in "abcd"])


def test_clips_are_in_order_and_those_that_are_not_finite_are_set_aside() -> None:
    logits = {3: np.float32([1, 2]), 0: np.float32([3, 4]), 2: np.float32([np.nan, 0])}
    found = ScoredClips.of(logits, CLIPS, [SetAside("b", "malformed", "x")], Seconds(), 2)
    assert found.rows == [0, 3]
    assert found.logits.tolist() == [[3, 4], [1, 2]]
    assert [(clip.id, clip.reason) for clip in found.set_aside] == [("b", "malformed"), ("c", "not_finite")]


def test_without_clips_there_are_columns() -> None:
    assert ScoredClips.of({}, CLIPS, [], Seconds(), 2).logits.shape == (0, 2)
