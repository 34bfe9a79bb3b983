"""The facts of components, which are read without importing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.commands.facts import facts_of, imported, read
from distill.commands.listing import KINDS
from distill.data.encoders.registry import Registry
from distill.teachers.published import Published
from tests.own_parts import Loudness


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_listed_is_what_the_classes_say(kind: str) -> None:
    ours = {name: location for name in KINDS[kind].names() if (location := KINDS[kind].location(name))}
    assert ours
    for name, location in ours.items():
        assert read(location) == imported(KINDS[kind].find(name)), name


SOURCE = """
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

RATE = 16_000
SIZES = Published(parameters=5, clip_dim=2, frame_dim=2, frame_hop=0.1)


class Base(Teacher):
    \"\"\"The base.\"\"\"

    sample_rate = RATE
    licence: str = "MIT"


class Child(Base):
    \"\"\"A child of the base.

    More of it.
    \"\"\"

    licence = "CC0"
    published = SIZES


class Computed(Base):
    licence = str(5)


raise SystemExit("the module was imported")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that ends the process when it is imported."""
    name = f"module_of_facts_{tmp_path.name}"  # what was parsed is kept by name
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_facts_are_those_of_the_class_then_of_its_bases(module: str) -> None:
    facts = read(f"{module}:Child")
    assert (facts.summary, facts.sample_rate, facts.licence) == ("A child of the base.", 16_000, "CC0")
    assert facts.published == Published(5, 2, 2, 0.1)
    base = read(f"{module}:Base")
    assert (base.licence, base.source, base.published) == ("MIT", "not stated", None)


def test_a_value_that_must_be_computed_is_not_read(module: str) -> None:
    with pytest.raises(LookupError):
        read(f"{module}:Computed")
    with pytest.raises(LookupError, match="is not defined in its module"):
        read(f"{module}:Missing")


def test_a_component_of_another_package_is_imported() -> None:
    registry = Registry[Any]("teacher", {"loud": "tests.own_parts:Loudness"}, "distill.teachers.teacher:Teacher")
    facts = facts_of(registry, "tests.own_parts.Loudness")
    assert (facts.summary, facts.sample_rate, facts.licence) == ("Level in three bands.", 16_000, "not stated")
    assert facts_of(registry, "loud") == imported(Loudness)
