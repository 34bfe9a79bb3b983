"""The result of a probe in words: a table of the encoder and its baselines, and the conclusions that it permits."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from distill.evaluation.bootstrap import Difference, Interval
from distill.evaluation.results import MEL, TEACHER, UNTRAINED, Baseline, ProbeResult

DIVIDED = "the clips are windows of few recordings, which are in several folds, so the scores are too high"
_NAMES = {MEL: "mel statistics", UNTRAINED: "the untrained student"}


def score_lines(result: ProbeResult) -> list[str]:
    """Return a line for the encoder and one for each baseline: name, score and 95 % interval."""
    role = "student" if result.teachers else "encoder"
    rows = [(f"{role} {result.model}", result.score, result.interval)]
    rows += [(row_name(baseline), baseline.score, baseline.interval) for baseline in result.baselines]
    width = max(len(name) for name, _, _ in rows)
    return [f"  {name:<{width}}  {score:.4f}  {interval_text(interval)}".rstrip() for name, score, interval in rows]


def row_name(baseline: Baseline) -> str:
    """Return the name of a baseline in a table."""
    return f"teacher {baseline.model}" if baseline.role == TEACHER else baseline.role


def interval_text(interval: Interval | None) -> str:
    """Return an interval as text; empty if it is unknown."""
    return "" if interval is None else f"[{interval.low:.4f}, {interval.high:.4f}]"


def verdicts(result: ProbeResult, subject: str, roles: Collection[str] = (UNTRAINED, MEL)) -> Iterator[str]:
    """Yield the conclusions of a probe as lines. A difference counts if its 95 % interval does not contain 0.

    Args:
        result: Result with baselines.
        subject: Name of the probed encoder in a sentence.
        roles: Baselines to compare with. Teachers below mel statistics are always named.
    """
    for baseline in sorted(result.baselines, key=lambda baseline: baseline.role == MEL):
        if baseline.role in roles:
            yield comparison(subject, _NAMES[baseline.role], baseline.lead)
    for baseline in result.baselines:
        if baseline.role == TEACHER and baseline.lead_over_mel is not None and baseline.lead_over_mel.high < 0:
            yield (
                f"the teacher {baseline.model} itself is below mel statistics on this task by "
                f"{_amount(baseline.lead_over_mel)}"
            )


def comparison(subject: str, other: str, lead: Difference) -> str:
    """Return a sentence about the difference of two scores."""
    if lead.low > 0:
        return f"{subject} is above {other} by {_amount(lead)}"
    if lead.high < 0:
        return f"{subject} is below {other} by {_amount(lead)}"
    return f"{subject} and {other} do not differ clearly: {lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]"


def _amount(lead: Difference) -> str:
    """Return the size of a difference with its interval, both positive."""
    sign = 1 if lead.value >= 0 else -1
    low, high = sorted((sign * lead.low, sign * lead.high))
    return f"{abs(lead.value):.4f} [{low:.4f}, {high:.4f}]"
