"""Scores of several classifiers as one, and their calibration by the other folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.clips.dataset import Seconds
from distill.data.clips.manifest import Row
from distill.data.store.format import SetAside
from distill.evaluation.calibration import best_thresholds, fit_temperature
from distill.run.scored import Scored, joined
from distill.students.decisions import MANY, ONE_OF, probabilities_of

CLASSES = ("a", "b", "c")


def scored(fold: str, kind: str, seed: int, clips: int = 40) -> Scored:
    random = np.random.default_rng(seed)
    labels = [CLASSES[number : number + 1] for number in random.integers(0, 3, clips)]
    if kind == MANY:
        labels = [tuple(name for name in CLASSES if random.random() < 0.4) for _ in range(clips)]
    rows = tuple(Row(f"{fold}{n}", Path("x"), labels=names, split=fold) for n, names in enumerate(labels))
    truth = np.array([[name in names for name in CLASSES] for names in labels])
    logits = (3 * truth + 2 * random.standard_normal((clips, 3))).astype(np.float32)
    aside = (SetAside(f"{fold}x", "too_short", ""),)
    return Scored(rows, logits, np.full((clips, 3), 0.1), CLASSES, kind, aside, Seconds(1.0, 2.0))


def test_parts_become_one() -> None:
    parts = [scored("1", ONE_OF, 0), scored("2", ONE_OF, 1, clips=3)]
    whole = joined(parts)
    assert whole.logits[40:] == pytest.approx(parts[1].logits)
    assert (len(whole.rows), whole.labels.parts[39:41], whole.thresholds.shape) == (43, ("1", "2"), (43, 3))
    assert [clip.id for clip in whole.set_aside] == ["1x", "2x"]
    assert whole.seconds == Seconds(2.0, 4.0)


@pytest.mark.parametrize("kind", [ONE_OF, MANY])
def test_a_fold_has_the_calibration_of_the_others(kind: str) -> None:
    parts = [scored(name, kind, seed) for seed, name in enumerate("123")]
    found = joined(parts).calibrated_by_folds()
    others = joined([parts[0], parts[2]])
    temperature = fit_temperature(others.logits, others.labels.truth, None, kind)
    assert found.logits[40:80] == pytest.approx(parts[1].logits / temperature, rel=1e-5)
    thresholds = best_thresholds(probabilities_of(others.logits / temperature, kind), others.labels.truth, None)
    assert found.thresholds[40:80] == pytest.approx(np.tile(thresholds, (40, 1)), rel=1e-5)
    assert not np.allclose(found.logits[:40] / parts[0].logits, found.logits[40:80] / parts[1].logits)
