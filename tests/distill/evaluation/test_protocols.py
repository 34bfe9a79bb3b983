"""Classifiers on frozen embeddings: their minima, votes and candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from distill.evaluation.protocols import EPOCHS, PROTOCOLS, STRENGTHS, Clips, Predict, knn, linear, mlp
from tests.distill.evaluation.test_scoring import blobs

RANDOM = np.random.default_rng(0)


def two_blobs(clips: int) -> Clips:
    """Return clips of two classes whose embeddings are far from zero and of different scales."""
    classes = np.arange(clips) % 2
    embeddings = np.stack([classes * 2 + 100 + RANDOM.standard_normal(clips) * 0.1, RANDOM.standard_normal(clips) * 50])
    return Clips(embeddings.T.astype(np.float32), np.eye(2, dtype=np.float32)[classes], None, True)


@pytest.mark.parametrize(("protocol", "candidates"), [(linear, len(STRENGTHS)), (mlp, len(EPOCHS)), (knn, 5)])
def test_a_protocol_yields_each_candidate_and_learns_by_the_last(
    protocol: Callable[[Clips, int], Iterator[Predict]], candidates: int
) -> None:
    train, test = two_blobs(60), two_blobs(20)
    found = list(protocol(train, 0))
    assert len(found) == candidates
    scores = found[0 if protocol is knn else -1](test.embeddings)
    assert scores.shape == (20, 2)
    accuracy = (scores.argmax(1) == test.truth.argmax(1)).mean()
    assert accuracy == 1 if protocol is not knn else accuracy > 0.4  # neighbours are found without standardising


def test_the_seed_determines_the_perceptron_and_the_global_state_does_not() -> None:
    clips = two_blobs(30)
    first, again, other = (next(mlp(clips, seed))(clips.embeddings) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    next(mlp(clips, 0))
    assert torch.rand(1).equal(expected)


def test_selected_clips_keep_their_annotations() -> None:
    clips = Clips(np.arange(6.0).reshape(3, 2), np.eye(3), np.tri(3, dtype=bool), False)  # type: ignore[arg-type]
    part = clips.select(np.array([2, 0]))
    assert part.embeddings.tolist() == [[4, 5], [0, 1]]
    assert part.truth.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert part.known is not None
    assert part.known.tolist() == [[True, True, True], [True, False, False]]


def test_only_one_protocol_chooses_on_the_scored_clips_and_its_name_states_it() -> None:
    assert [name for name, protocol in PROTOCOLS.items() if protocol.chosen_on_test] == ["linear_best_test_epoch"]


def test_the_linear_probe_finds_the_minimum() -> None:
    """Its hand-written gradient against autograd, at every strength, for one label, several and unknown ones."""
    embeddings, labels = blobs(noise=1.0)
    known = RANDOM.random(labels.truth.shape) < 0.8
    several = np.maximum(labels.truth, np.roll(labels.truth, 1, 1) * (RANDOM.random((200, 1)) < 0.5))
    for clips in (Clips(embeddings, labels.truth, None, True), Clips(embeddings, several, known, False)):
        x = torch.from_numpy((embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-6))
        for strength, predict in zip(STRENGTHS, linear(clips, 0), strict=True):
            weight, bias = predict.weight.clone().requires_grad_(), predict.bias.clone().requires_grad_()
            logits, truth = x @ weight + bias, torch.from_numpy(clips.truth)
            if clips.single:
                loss = torch.nn.functional.cross_entropy(logits, truth)
            else:
                each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
                loss = each[torch.from_numpy(known)].mean()
            (loss + strength / 2 * weight.square().sum()).backward()
            assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 2e-3


def test_neighbours_vote_only_on_what_is_known_of_them() -> None:
    embeddings = np.ones((11, 2), dtype=np.float32)
    truth, known = np.zeros((11, 2), dtype=np.float32), np.zeros((11, 2), dtype=bool)
    truth[0, 0] = known[0, 0] = True  # ten neighbours of which nobody knows
    *_, many = knn(Clips(embeddings, truth, known, False), 0)
    assert many(embeddings[:1])[0].tolist() == pytest.approx([1.0, 0.0])
