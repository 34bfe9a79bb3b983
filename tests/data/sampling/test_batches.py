"""The batches of a run."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.sampling.batches import BatchSampler, Draws, useful_share
from distill.data.sampling.orders import ClusterOrder, UniformOrder


@pytest.mark.parametrize("clips", [61, 62, 63, 64, 65])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_the_same_global_batches(clips: int, world: int) -> None:
    def batches(rank: int, ranks: int) -> list[list[tuple[int, int]]]:
        sampler = BatchSampler(UniformOrder(clips, seed=1), 8, clips // 8 * 2, rank=rank, world=ranks)
        return [list(zip(*batch, strict=True)) for batch in sampler]

    by_rank = [batches(rank, world) for rank in range(world)]
    assert len({len(rank) for rank in by_rank}) == 1
    assert all(batch for rank in by_rank for batch in rank)
    for alone, *parts in zip(batches(0, 1), *by_rank, strict=True):
        assert sorted(draw for part in parts for draw in part) == sorted(alone)


@pytest.mark.parametrize("start", [0, 1, 5, 7, 8, 9, 14])
def test_a_resumed_run_draws_the_remaining_batches(start: int) -> None:
    def sampler() -> BatchSampler:
        return BatchSampler(UniformOrder(61, seed=1), 8, 14)

    resumed = sampler()
    resumed.start = start
    assert list(resumed) == list(sampler())[start:]
    assert len(resumed) == len(sampler()) == 14


def test_draws_are_numbered_through_the_run() -> None:
    batches = list(BatchSampler(UniformOrder(10), 4, 4))
    assert [draw for batch in batches for draw in batch.draws] == [*range(8), *range(10, 18)]


LENGTHS = np.random.default_rng(0).exponential(2.0, 1000).clip(0.1, 10)


def sampler(batches: int = 250, lengths: bool = True) -> BatchSampler:
    return BatchSampler(UniformOrder(1000, seed=4), 8, batches, lengths=LENGTHS if lengths else None)


def test_clips_of_similar_length_share_a_batch_and_every_clip_is_drawn_once_in_an_epoch() -> None:
    batches = list(sampler())
    assert sorted(row for batch in batches[:125] for row in batch.rows) == list(range(1000))
    assert useful_share(LENGTHS, batches) > 0.9
    assert useful_share(LENGTHS, list(sampler(lengths=False))) < 0.6
    assert batches[:125] != batches[125:]


def test_sorted_windows_hold_the_same_draws_as_the_order() -> None:
    for window in range(0, 250, 125):
        for begin in (window, window + 50):
            with_lengths = {pair for batch in list(sampler())[begin : begin + 50] for pair in zip(*batch, strict=True)}
            plain = list(sampler(lengths=False))[begin : begin + 50]
            assert with_lengths == {pair for batch in plain for pair in zip(*batch, strict=True)}


def test_long_clips_are_spread_over_the_run() -> None:
    means = [LENGTHS[list(batch.rows)].mean() for batch in sampler(50)]
    assert abs(np.corrcoef(means, np.arange(50))[0, 1]) < 0.4


@pytest.mark.parametrize("start", [0, 1, 49, 50, 51, 124, 125, 200])
def test_a_resumed_run_with_lengths_draws_the_remaining_batches(start: int) -> None:
    resumed = sampler()
    resumed.start = start
    assert list(resumed) == list(sampler())[start:]


def test_clips_of_one_length_keep_their_order() -> None:
    equal = BatchSampler(UniformOrder(1000, seed=4), 8, 250, lengths=np.full(1000, 3.0))
    assert list(equal) == list(sampler(lengths=False))


def test_a_weighted_order_keeps_its_frequencies() -> None:
    labels = np.random.default_rng(1).integers(0, 5, 1000)
    batches = BatchSampler(ClusterOrder(labels, seed=2), 8, 500, lengths=LENGTHS)
    drawn = np.bincount(labels[[row for batch in batches for row in batch.rows]], minlength=5) / 4000
    assert drawn == pytest.approx(np.full(5, 0.2), abs=0.02)


def test_the_useful_share_counts_padding() -> None:
    assert useful_share(np.array([1.0, 3.0]), [Draws([0, 1], [0, 1])]) == pytest.approx(4 / 6)
