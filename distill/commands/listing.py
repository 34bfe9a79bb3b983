"""`distill list`: what there is, by name, from the code itself."""

from __future__ import annotations

from typing import Any

from distill.data.errors import UserError
from distill.data.registry import Registry, suggest
from distill.losses import LOSSES
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.teachers import TEACHERS

KINDS: dict[str, Registry[Any]] = {
    "teachers": TEACHERS,
    "students": STUDENTS,
    "objectives": OBJECTIVES,
    "losses": LOSSES,
}


def list_components(kind: str = "all") -> None:
    """Print the components of a kind, or of all kinds. Raises UserError for an unknown kind."""
    if kind != "all" and kind not in KINDS:
        raise UserError(f"unknown list {kind!r}; {suggest(kind, list(KINDS))}")
    for name in KINDS if kind == "all" else [kind]:
        print("\n".join(lines(name)), end="\n\n" if kind == "all" else "\n")


def lines(kind: str) -> list[str]:
    """A line for each component of a kind: name, what it is, and for encoders rate, licence and source."""
    rows = [kind.upper()] if kind else []
    for name in KINDS[kind].names():
        component: Any = KINDS[kind].find(name)
        summary = (component.__doc__ or "").strip().partition("\n")[0]
        rows.append(f"  {name:14} {summary}")
        if kind in ("teachers", "students"):
            rate = getattr(component, "sample_rate", None)
            rows.append(f"  {'':14} {f'{rate} Hz' if rate else 'rate of its store'}; licence: {component.licence}")
            rows.append(f"  {'':14} weights: {component.source}")
    if kind == "teachers":
        rows.append("  M2D is not among them: its licence allows only the evaluation of its paper.")
    return rows
