"""A ranking of teachers on one data set, beside mel statistics: its numbers, its table and its conclusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.bootstrap import Difference, Floats, Interval, difference_of, draw_weights, interval_of
from distill.evaluation.cost import Cost
from distill.evaluation.results import MEL
from distill.evaluation.verdicts import comparison, interval_text

_WIDE = 0.1  # a lead over mel statistics that is worth a distillation; below it, more clips change no decision


@dataclass(frozen=True)
class Resampled:
    """A score, and its value in each bootstrap resample.

    Args:
        score: The score.
        samples: Score in each resample. Shape (resamples,). Resamples of equal clips are equal.
    """

    score: float
    samples: Floats


@dataclass(frozen=True)
class Candidate:
    """The measures of one encoder.

    Args:
        name: Name of the encoder.
        identity: Identity of the encoder: a digest of its class, options and weights.
        probe: Score of the linear probe. None: there are no labels.
        crops: Recall@1 of the second crop of each clip by its first crop. None: too few clips are long enough.
        effective_rank: Effective rank of the embeddings.
        cost: Cost of a clip.
    """

    name: str
    identity: str
    probe: Resampled | None
    crops: Resampled | None
    effective_rank: float
    cost: Cost


@dataclass(frozen=True)
class Score:
    """A score of an encoder beside those of mel statistics and of the best teacher, with paired intervals.

    Args:
        value: The score.
        interval: Its 95 % bootstrap interval.
        over_mel: The score minus that of mel statistics.
        behind_best: The score of the best teacher minus the score.
    """

    value: float
    interval: Interval
    over_mel: Difference
    behind_best: Difference


@dataclass(frozen=True)
class Ranked:
    """An encoder in a ranking. The arguments are those of `Candidate`."""

    name: str
    identity: str
    probe: Score | None
    crops: Score | None
    effective_rank: float
    cost: Cost

    @property
    def score(self) -> Score:
        """The score by which it is ranked: that of the probe, without labels that of the crops."""
        score = self.probe or self.crops
        assert score is not None
        return score


@dataclass(frozen=True)
class Sample:
    """The clips of a ranking.

    Args:
        data: Name of the folder or table.
        clips: Number of clips that every encoder embedded.
        left_out: Number of the other clips of the sample.
        available: Number of clips of the data.
        metric: Metric of the probe. Empty: there are no labels.
        classes: Number of classes. 0: there are no labels.
        test_clips: Number of clips that the probe scores.
        pairs: Number of clips of which two crops are compared.
    """

    data: str
    clips: int
    left_out: int
    available: int
    metric: str
    classes: int
    test_clips: int
    pairs: int


@dataclass(frozen=True)
class Ranking:
    """Teachers, the best first, and mel statistics.

    Args:
        sample: The clips.
        teachers: The teachers. The score of the probe ranks them; without labels, that of the crops.
        mel: Mel statistics.
    """

    sample: Sample
    teachers: tuple[Ranked, ...]
    mel: Ranked

    @property
    def best(self) -> str | None:
        """Name of the teacher to take. None: the best one is not clearly above mel statistics."""
        first = self.teachers[0]
        return first.name if first.score.over_mel.low > 0 else None

    def lines(self) -> list[str]:
        """Return the clips, the table, and the conclusions."""
        sample = self.sample
        lines = [f"{sample.clips:,} of {sample.available:,} clips, with 95 % intervals"]
        if sample.metric:
            counts = f"{sample.test_clips:,} test clips, {sample.classes} classes"
            lines.append(f"probe: {sample.metric} of the linear probe, {counts}")
        if sample.pairs:
            lines.append(f"crops: a clip's second half is the nearest to its first half, among {sample.pairs:,} clips")
        if not sample.metric:
            lines.append(
                "no labels: the crops rank the teachers, which is a weak sign; with labels, the probe ranks them"
            )
        if sample.left_out:
            lines.append(f"{sample.left_out:,} clips are left out for all: not every encoder could embed them")
        return [*lines, *self._table(), *self._conclusions()]

    def _table(self) -> list[str]:
        """Return the table: a row for each encoder."""
        # In the order of the scores, so that mel statistics stand where they belong.
        encoders = sorted((*self.teachers, self.mel), key=lambda encoder: -encoder.score.value)
        rows: list[tuple[str, ...]] = [("", "probe", "crops", "effective rank", "parameters", "ms per second of sound")]
        rows += [_cells(encoder) for encoder in encoders]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        kept = [place for place, width in enumerate(widths) if place in (0, 3, 4, 5) or any(r[place] for r in rows[1:])]
        return ["  ".join(f"{row[place]:<{widths[place]}}" for place in kept).rstrip() for row in rows]

    def _conclusions(self) -> Iterator[str]:
        """Yield what the scores permit to say of each teacher, and which one to take."""
        for teacher in self.teachers:
            yield _against_mel(teacher)
        if self.best is None:
            yield f"take none of them: no teacher is clearly above {MEL}"
            return
        yield f"take {self.best}" if self.sample.metric else f"perhaps take {self.best}: no labels confirm it"
        for other in self.teachers[1:]:
            behind = other.score.behind_best
            if behind.low <= 0 and other.score.over_mel.low > 0:
                times = other.cost.latency / self.teachers[0].cost.latency
                yield (
                    f"{other.name} does not differ clearly from it ({behind.value:.4f} below "
                    f"[{behind.low:+.4f}, {behind.high:+.4f}]), and takes {times:.2g} times its time"
                )


def rank_candidates(sample: Sample, teachers: Sequence[Candidate], mel: Candidate) -> Ranking:
    """Return the ranking of teachers. All were measured on the same clips.

    Args:
        sample: The clips.
        teachers: At least one teacher. All have a score of the probe, or all have one of the crops.
        mel: Mel statistics.
    """
    probes, crops = _scores([c.probe for c in (*teachers, mel)]), _scores([c.crops for c in (*teachers, mel)])
    ranked = [
        Ranked(candidate.name, candidate.identity, probe, crop, candidate.effective_rank, candidate.cost)
        for candidate, probe, crop in zip((*teachers, mel), probes, crops, strict=True)
    ]
    return Ranking(sample, tuple(sorted(ranked[:-1], key=lambda teacher: -teacher.score.value)), ranked[-1])


def share(hits: NDArray[np.bool_]) -> Resampled:
    """Return the share of clips with a hit, and the share in each resample of the clips.

    Args:
        hits: Shape (clips,).
    """
    return Resampled(float(hits.mean()), draw_weights(len(hits)).astype(np.float64) @ hits / len(hits))


def _scores(measured: Sequence[Resampled | None]) -> list[Score | None]:
    """Compare scores of encoders with the last one, mel statistics, and with the best of the others."""
    found = [one for one in measured if one is not None]
    if len(found) < len(measured):
        return [None] * len(measured)
    best, mel = max(found[:-1], key=lambda one: one.score), found[-1]
    return [Score(one.score, interval_of(one.samples), _lead(one, mel), _lead(best, one)) for one in found]


def _lead(first: Resampled, second: Resampled) -> Difference:
    return difference_of(first.score, second.score, first.samples, second.samples)


def _cells(encoder: Ranked) -> tuple[str, ...]:
    """Return the row of an encoder."""
    scores = (f"{s.value:.4f} {interval_text(s.interval)}" if s else "" for s in (encoder.probe, encoder.crops))
    cost = encoder.cost
    parameters = "unknown" if cost.parameters is None else f"{cost.parameters:,}"
    return (
        encoder.name,
        *scores,
        f"{encoder.effective_rank:.1f}",
        parameters,
        f"{1000 * cost.latency / cost.seconds:.3g}",
    )


def _against_mel(teacher: Ranked) -> str:
    """Return a sentence that compares a teacher with mel statistics."""
    lead = teacher.score.over_mel
    if lead.low > 0:
        return comparison(teacher.name, MEL, lead)
    where = "below" if lead.high < 0 else "like"
    numbers = f"{lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]"
    doubt = ", or there are too few clips to see more" if lead.high > _WIDE else ""
    return f"{teacher.name} scores {where} {MEL} on your data ({numbers}): there is little to distil{doubt}"
