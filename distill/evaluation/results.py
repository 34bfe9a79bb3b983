"""Results of probes: the scores of an encoder and of its baselines, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from distill.evaluation.bootstrap import Difference, Interval
from distill.evaluation.cost import Cost

MEL, UNTRAINED, TEACHER = "mel statistics", "untrained", "teacher"


@dataclass(frozen=True)
class Baseline:
    """Score of a baseline on the clips of a probe.

    Args:
        role: "mel statistics", "untrained" or "teacher".
        model: Path or name of the encoder.
        identity: Identity of the encoder: a digest of its class, options and weights.
        score: Mean over folds and seeds.
        interval: 95 % bootstrap interval of the score.
        lead: Score of the probed encoder minus that of the baseline, with its paired interval.
        lead_over_mel: Score of the baseline minus that of mel statistics. None: it was not compared.
        cost: Cost of a clip of 10 s.
    """

    role: str
    model: str
    identity: str
    score: float
    interval: Interval
    lead: Difference
    lead_over_mel: Difference | None
    cost: Cost

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Baseline:
        """Return the baseline with the values of a file result.json."""
        over_mel = values["lead_over_mel"]
        return cls(
            **{
                **values,
                "interval": Interval(*values["interval"]),
                "lead": Difference(*values["lead"]),
                "lead_over_mel": None if over_mel is None else Difference(*over_mel),
                "cost": Cost(**values["cost"]),
            }
        )


class Named(NamedTuple):
    """Names of the data and of the encoder of a result.

    Args:
        data: Name of the folder or table.
        model: Path or name of the encoder.
        identity: Identity of the encoder: a digest of its class, options and weights.
        teachers: Identity of each teacher of the encoder, by name.
    """

    data: str
    model: str
    identity: str
    teachers: dict[str, str]


@dataclass(frozen=True)
class ProbeResult:
    """Scores of one encoder on one data set.

    Args:
        protocol: Name of the protocol. Scores of different protocols must not be compared.
        task: Name of the data set, or "auto".
        metric: Name of the metric of `score`, `folds` and `seeds`.
        score: Mean over folds and seeds.
        spread: Standard deviation over all folds and seeds; 0 with one measurement.
        folds: Score of each fold by name, a mean over seeds.
        seeds: Score of each seed, a mean over folds.
        metrics: All metrics that fit the labels, by name, as means over folds and seeds: mAP, AUC and d_prime; accuracy
            if each clip has one label, otherwise F1; and the coarser accuracies of the data set.
        clips: Number of clips, with those for training.
        classes: Number of classes.
        data: Name of the folder or table.
        model: Path or name of the encoder.
        identity: Identity of the encoder: a digest of its class, options and weights.
        teachers: Identity of each teacher of the encoder, by name.
        cost: Cost of a clip of 10 s. None: not measured.
        test_clips: Number of scored clips. 0: unknown, in results of earlier versions.
        interval: 95 % bootstrap interval of the score over the test clips. None: unknown, as above.
        baselines: Scores of the baselines on the same clips.
    """

    protocol: str
    task: str
    metric: str
    score: float
    spread: float
    folds: dict[str, float]
    seeds: list[float]
    metrics: dict[str, float]
    clips: int
    classes: int
    data: str = ""
    model: str = ""
    identity: str = ""
    teachers: dict[str, str] = field(default_factory=dict)
    cost: Cost | None = None
    test_clips: int = 0
    interval: Interval | None = None
    baselines: tuple[Baseline, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProbeResult:
        """Return the result with the values of a file result.json, which may be of an earlier version.

        Raises:
            TypeError: a value is missing, or one is unknown.
        """
        typed = dict(values)
        typed["cost"] = Cost(**values["cost"]) if values.get("cost") else None
        typed["interval"] = Interval(*values["interval"]) if values.get("interval") else None
        typed["baselines"] = tuple(Baseline.from_json(baseline) for baseline in values.get("baselines", ()))
        return cls(**typed)

    def of(self, named: Named, cost: Cost | None) -> ProbeResult:
        """Return the same scores with the names of the data and of the encoder, and with its cost if it is known."""
        return replace(self, **named._asdict(), cost=cost)


@dataclass(frozen=True)
class Entry:
    """A row of a comparison: a probed encoder, or a baseline of one.

    Args:
        name: Name of the run or of the encoder.
        score: Mean over folds and seeds.
        spread: Standard deviation over folds and seeds; 0 with one measurement or for a baseline.
        interval: 95 % bootstrap interval of the score. None: unknown.
        identity: Identity of the encoder.
        teachers: Identity of each teacher of the encoder, by name.
        cost: Cost of a clip of 10 s. None: not measured.
        is_baseline: Whether it is a baseline of another entry.
    """

    name: str
    score: float
    spread: float
    interval: Interval | None
    identity: str
    teachers: Mapping[str, str]
    cost: Cost | None
    is_baseline: bool


def entries_of(results: Sequence[tuple[str, ProbeResult]]) -> list[Entry]:
    """Return the rows of a comparison, the best score first. A baseline of several results has one row.

    Args:
        results: Names and results of one data set, protocol and metric.
    """
    entries = [
        Entry(name, own.score, own.spread, own.interval, own.identity, own.teachers, own.cost, False)
        for name, own in results
    ]
    known = {entry.identity for entry in entries}
    for name, result in results:
        for baseline in result.baselines:
            if baseline.identity not in known:
                known.add(baseline.identity)
                title = f"{name}, untrained" if baseline.role == UNTRAINED else baseline.model
                entries.append(
                    Entry(title, baseline.score, 0.0, baseline.interval, baseline.identity, {}, baseline.cost, True)
                )
    return sorted(entries, key=lambda entry: -entry.score)
