"""`distill list`: print the components and the known data sets. Our own code is read and not run."""

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
    """Print the components of a kind, or of all kinds.

    Args:
        kind: "teachers", "students", "objectives", "losses", "datasets" or "all".
        markdown: Print the teachers as a table in Markdown.

    Raises:
        UserError: the kind is unknown, or `markdown` is set for a kind other than "teachers".
    """
    if kind not in ("all", "datasets", *KINDS):
        raise UserError(f"unknown list {kind!r}; {suggest(kind, [*KINDS, 'datasets'])}")
    if kind == "datasets":
        print("\n".join(data_set_lines()))
        return
    if markdown:
        if kind != "teachers":
            raise UserError("--markdown requires `distill list teachers`")
        print(teacher_table())
        return
    for name in KINDS if kind == "all" else [kind]:
        print("\n".join(lines(name)), end="\n\n" if kind == "all" else "\n")
    if kind == "all":
        print("\n".join(data_set_lines()))


def data_set_lines() -> list[str]:
    """Return a line for each known data set: name, metric, note, and the files that identify it."""
    rows = ["DATA SETS"]
    for name, layout in LAYOUTS.items():
        note = f"; {layout.note}" if layout.note else ""
        rows.append(f"  {name:20} {layout.metric}{note} (identified by {', '.join(layout.marks)})")
    return rows


def lines(kind: str) -> list[str]:
    """Return the lines for each component of a kind: name and summary; for encoders also sizes, licence and source."""
    rows = [kind.upper()]
    for name in KINDS[kind].names():
        try:
            facts = facts_of(KINDS[kind], name)
        except UserError as error:  # the package of a registered component is missing
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
    """Return the table of teachers in Markdown, as it stands in README.md."""
    rows = ["| teacher | input | clip / frame | frame every | parameters | licence of the weights | weights |"]
    rows.append("|" + "---|" * 7)
    for name in TEACHERS.names():
        facts = facts_of(TEACHERS, name)
        texts = _texts(facts)
        cells = [f"`{name}`", *(texts[fact] or "as loaded" for fact in ("input", "clip / frame", "frame every"))]
        rows.append(f"| {' | '.join([*cells, texts['parameters'] or 'as loaded', facts.licence, facts.source])} |")
    return "\n".join(rows)


def _texts(facts: Facts) -> dict[str, str]:
    """Return the facts of an encoder as text by name; empty for an unknown fact."""
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
