"""Protocols that read what is there and no more, and the scores of what they read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.data.clips.manifest import Row
from distill.data.errors import UserError
from distill.evaluation.bootstrap import draw_weights, interval_of
from distill.evaluation.metrics import accuracy
from distill.evaluation.scoring import Labels, collect, labels_of, linear_head, score_embeddings, usable_splits

RANDOM = np.random.default_rng(0)


def blobs(clips: int = 200, noise: float = 0.3, parts: str = "") -> tuple[NDArray[np.float32], Labels]:
    classes = np.arange(clips) % 4
    embeddings = (np.eye(4, 8)[classes] + noise * RANDOM.standard_normal((clips, 8))).astype(np.float32)
    truth = np.eye(4, dtype=np.float32)[classes]
    return embeddings, Labels(("a", "b", "c", "d"), truth, None, (parts,) * clips)


@pytest.mark.parametrize("protocol", ["linear", "mlp", "knn"])
def test_protocols_read_what_is_there_and_no_more(protocol: str) -> None:
    embeddings, labels = blobs()
    scored = score_embeddings(embeddings, labels, protocol)
    assert scored.result.score > 0.95
    assert scored.result.metric == "accuracy"
    assert scored.result.protocol == protocol
    assert scored.confusion is not None
    assert scored.confusion.sum() == 200
    noise = RANDOM.standard_normal(embeddings.shape).astype(np.float32)
    assert score_embeddings(noise, labels, protocol).result.score < 0.4


def test_the_official_habit_flatters_and_says_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more epochs the best on the test part can only be better, also where there is nothing to learn."""
    _, labels = blobs(80)
    noise = np.random.default_rng(1).standard_normal((80, 8)).astype(np.float32)
    scores = []
    for epochs in (1, 50):
        monkeypatch.setattr("distill.evaluation.protocols._OFFICIAL_EPOCHS", epochs)
        result = score_embeddings(noise, labels, "linear_best_test_epoch").result
        assert result.protocol == "linear_best_test_epoch"
        scores.append(result.score)
    assert scores[1] > scores[0]


def test_hyper_parameters_are_chosen_without_the_clips_that_are_scored() -> None:
    """Labels of the test part are swapped: the score changes, the candidate and its predictions do not."""
    embeddings, labels = blobs(160, noise=1.0)
    parts = tuple("test" if i % 4 == 0 else "training" for i in range(160))
    seen = []
    for shift in (0, 1):
        truth = labels.truth.copy()
        truth[::4] = np.roll(truth[::4], shift, axis=1)
        scored = score_embeddings(embeddings, Labels(labels.names, truth, None, parts), "linear")
        assert scored.confusion is not None
        seen.append(scored.confusion.sum(0).tolist())
    assert seen[0] == seen[1]


def test_unknown_labels_are_left_out_of_learning_and_scoring() -> None:
    rows = [
        Row(f"{i}", Path(f"{i}"), labels=("x",) * (i % 2), split=str(i % 3), annotated=("x", "y") if i % 5 else ("x",))
        for i in range(60)
    ]
    labels = labels_of(rows, ("x", "y"))
    assert labels.known is not None
    assert labels.known.sum() == 120 - 12
    assert not labels.single
    embeddings = np.stack([labels.truth[:, 0], RANDOM.standard_normal(60)], 1).astype(np.float32)
    scored = score_embeddings(embeddings, labels)
    assert scored.result.metric == "mAP"
    assert scored.result.score == 1.0  # of x; nobody has y
    assert np.isnan(scored.by_class.average_precision[1])


def test_seeds_give_a_mean_and_a_spread() -> None:
    embeddings, labels = blobs(80, noise=0.8)
    whole = replace(labels, parts=("training", "training", "validation", "test") * 20)
    result = score_embeddings(embeddings[RANDOM.permutation(80)], whole, "mlp", seeds=3).result
    assert len(result.seeds) == 3
    assert result.score == pytest.approx(np.mean(result.seeds))
    assert result.spread == pytest.approx(np.std(result.seeds, ddof=1))


def test_folds_spread_though_seeds_change_nothing() -> None:
    embeddings, labels = blobs(80, noise=0.8)
    folds = replace(labels, parts=tuple(str(number // 4 % 4 + 1) for number in range(80)))
    once, thrice = (score_embeddings(embeddings, folds, "linear", seeds=seeds).result for seeds in (1, 3))
    assert once.spread == pytest.approx(np.std(list(once.folds.values()), ddof=1))
    assert thrice.spread == pytest.approx(np.std(list(thrice.folds.values()) * 3, ddof=1))
    assert thrice.spread > 0


def test_what_cannot_be_measured_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    embeddings, labels = blobs(40)
    with pytest.raises(UserError, match="must be one of linear, mlp, knn"):
        score_embeddings(embeddings, labels, "forest")
    with pytest.raises(UserError, match="--metric F1"):
        score_embeddings(embeddings, labels, metric="F1")
    with pytest.raises(UserError, match="several labels"):
        score_embeddings(
            embeddings, Labels(labels.names, np.ones((40, 4), np.float32), None, labels.parts), metric="accuracy"
        )
    with pytest.raises(UserError, match="'cow', which is not one of the 2 classes"):
        labels_of([Row("1", Path("1"), labels=("cow",))], ("cat", "dog"))
    with pytest.raises(UserError, match="leaves 0 clips"):
        score_embeddings(embeddings, Labels(labels.names, labels.truth, None, ("test",) * 40))
    capsys.readouterr()
    parts = tuple("test" if i % 4 == 0 else "training" for i in range(40))  # class a is never learned
    score_embeddings(embeddings, Labels(labels.names, labels.truth, None, parts))
    assert "no training clip has 'a'" in capsys.readouterr().out


def test_identical_embeddings_are_read_at_chance_and_not_refused() -> None:
    _, labels = blobs(40)
    same = np.ones((40, 8), dtype=np.float32)
    for protocol in ("linear", "knn"):
        assert score_embeddings(same, labels, protocol).result.score <= 0.5


def test_a_part_without_any_label_is_refused() -> None:
    truth = np.eye(2, dtype=np.float32)[np.arange(12) % 2]
    truth[8:] = 0
    labels = Labels(("a", "b"), truth, None, ("training",) * 8 + ("test",) * 4)
    with pytest.raises(UserError, match="no clip of the part 'test' has a label"):
        score_embeddings(RANDOM.standard_normal((12, 3)).astype(np.float32), labels)


def test_resamples_draw_from_the_test_clips_of_all_folds_and_are_equal_for_every_encoder() -> None:
    truth = np.eye(2, dtype=np.float32)[np.arange(12) % 2]
    parts = ("a", "b", "a", "a", "b", "b") * 2
    labels = Labels(("x", "y"), truth, None, parts)
    splits = usable_splits(labels, 0)
    random = np.random.default_rng(3)
    runs = [[(split, random.standard_normal((len(split.test), 2)).astype(np.float32)) for split in splits]]
    scored = collect(runs, labels, "linear", "auto", "accuracy")
    weights, expected = draw_weights(12), []
    for row in weights:
        folds = []
        for split, scores in runs[0]:
            clips = [place for place, clip in enumerate(split.test) for _ in range(row[clip])]
            folds.append(accuracy(scores[clips], truth[split.test[clips]]) if clips else np.nan)
        expected.append(np.nanmean(folds))
    np.testing.assert_allclose(scored.samples, expected)
    assert scored.result.interval == interval_of(scored.samples)
    assert scored.result.test_clips == 12


def test_the_kept_head_is_the_one_that_is_scored() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 120)
    embeddings = (3 * np.eye(6)[classes] + 2 * random.standard_normal((120, 6))).astype(np.float32)
    parts = tuple(np.array(["training", "training", "validation", "test"])[np.arange(120) % 4])
    labels = Labels(("a", "b", "c"), np.eye(3, dtype=np.float32)[classes], None, parts)
    head, rows, logits = linear_head(embeddings, labels)
    test = np.array(parts) == "test"
    with torch.no_grad():
        found = head(torch.from_numpy(embeddings)).numpy()
    scored = score_embeddings(embeddings, labels)
    assert (found[test].argmax(1) == classes[test]).mean() == pytest.approx(scored.result.score)
    assert set(np.array(parts)[rows]) == {"validation"}
    np.testing.assert_allclose(logits, found[rows], atol=1e-4)  # the same head, which did not see them
    folds = Labels(labels.names, labels.truth, None, tuple(str(number % 4) for number in range(120)))
    _, rows, logits = linear_head(embeddings, folds)
    assert sorted(rows.tolist()) == list(range(120))
    accuracy = (logits.argmax(1) == classes[rows]).mean()
    assert accuracy == pytest.approx(score_embeddings(embeddings, folds).result.score, abs=0.05)


def test_clips_of_one_file_are_one_recording() -> None:
    windows = [Row(f"{number}", Path(f"{number // 2}.wav"), start=number % 2, labels=("a",)) for number in range(6)]
    labels = labels_of(windows, ["a"])
    assert labels.recordings is not None
    assert labels.recordings.tolist() == [0, 0, 1, 1, 2, 2]
    assert labels_of(windows[::2], ["a"]).recordings is None
