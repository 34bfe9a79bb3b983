"""`distill list`: what there is, by name, from the code itself, which is read and not run."""

from __future__ import annotations

from typing import Any

from distill.commands.facts import Facts, facts_of
from distill.data.clips.layouts import LAYOUTS
from distill.data.encoders.registry import Registry, suggest
from distill.data.errors import UserError
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
M2D = "M2D is not among them: its licence allows only the evaluation of its paper."


def list_components(kind: str = "all", markdown: bool = False) -> None:
    """Print the components of a kind, or of all kinds. Raises UserError for an unknown kind."""
    if kind not in ("all", "datasets", *KINDS):
        raise UserError(f"unknown list {kind!r}; {suggest(kind, [*KINDS, 'datasets'])}")
    if kind == "datasets":
        print("\n".join(data_set_lines()))
        return
    if markdown:
        if kind != "teachers":
            raise UserError("--markdown is for `distill list teachers`")
        print(teacher_table())
        return
    for name in KINDS if kind == "all" else [kind]:
        print("\n".join(lines(name)), end="\n\n" if kind == "all" else "\n")
    if kind == "all":
        print("\n".join(data_set_lines()))


def data_set_lines() -> list[str]:
    """A line for each data set whose layout is known: metric, what its score counts, and the files it is known by."""
    rows = ["DATA SETS"]
    for name, layout in LAYOUTS.items():
        note = f"; {layout.note}" if layout.note else ""
        rows.append(f"  {name:20} {layout.metric}{note} (known by {', '.join(layout.marks)})")
    return rows


def lines(kind: str) -> list[str]:
    """A line or more for each component of a kind: name and what it is; for encoders sizes, licence and source."""
    rows = [kind.upper()]
    for name in KINDS[kind].names():
        try:
            facts = facts_of(KINDS[kind], name)
        except UserError as error:  # of another package
            rows.append(f"  {name:14} {error}")
            continue
        rows.append(f"  {name:14} {facts.summary}")
        if kind in ("teachers", "students"):
            rows.append(f"  {'':14} {'; '.join(f'{fact}: {text}' for fact, text in _texts(facts).items() if text)}")
            rows.append(f"  {'':14} weights: {facts.source}")
    if kind == "teachers":
        rows.append(f"  {M2D}")
    return rows


def teacher_table() -> str:
    """The teachers as a table in Markdown; that of the README."""
    rows = ["| teacher | input | clip / frame | frame every | parameters | licence of the weights | weights |"]
    rows.append("|" + "---|" * 7)
    for name in TEACHERS.names():
        facts = facts_of(TEACHERS, name)
        texts = _texts(facts)
        cells = [f"`{name}`", *(texts[fact] or "as loaded" for fact in ("input", "clip / frame", "frame every"))]
        rows.append(f"| {' | '.join([*cells, texts['parameters'] or 'as loaded', facts.licence, facts.source])} |")
    return "\n".join(rows)


def _texts(facts: Facts) -> dict[str, str]:
    """What is known of an encoder, as text; empty where it is not."""
    rate, published = facts.sample_rate, facts.published
    return {
        "input": f"{rate / 1000:g} kHz" if rate else "",
        "clip / frame": f"{published.clip_dim} / {published.frame_dim}" if published else "",
        "frame every": f"{published.frame_hop * 1000:.4g} ms" if published else "",
        "parameters": ""
        if not published
        else f"{published.parameters / 1e6:.1f} M"
        if published.parameters
        else "none",
        "licence": facts.licence,
    }
