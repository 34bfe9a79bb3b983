"""Names, specs and options of components; tests/distill/test_api.py has what a user registers."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from distill.data.encoders.registry import Rebuildable, Registry, Spec, suggest
from distill.data.errors import UserError
from distill.data.files import plain
from distill.objectives import OBJECTIVES


class Part(Rebuildable):
    def __init__(self, size: int = 3, name: str = "x", **more: int) -> None:
        self.size, self.name, self.more = size, name, more


class Sized(Part):
    """A checkpoint decides its size."""

    sizes = MappingProxyType({"size": 7})


class Other:
    """Not a part."""


@pytest.fixture
def parts() -> Registry[Any]:
    home = f"{__name__}:"
    return Registry("part", {"plain": home + "Part", "sized": home + "Sized"}, base=home + "Part")


def test_a_part_keeps_its_name_and_all_its_options(parts: Registry[Any]) -> None:
    assert parts.create("plain", size=5, extra=2).spec == Spec("plain", {"size": 5, "name": "x", "extra": 2})
    assert parts.create(Part).spec == parts.create("plain").spec
    assert parts.create(f"{__name__}.Part").spec.name == "plain"
    assert parts.create("sized", size=1).spec.options["size"] == 7
    assert Part().spec is None


def test_a_part_is_built_again_from_its_spec_and_from_its_config(parts: Registry[Any]) -> None:
    first = parts.create("plain", size=5, extra=2)
    for written in (first.spec, first.spec.as_config(), plain(first.spec.as_config())):
        again = parts.build(written)
        assert (type(again), vars(again)) == (Part, vars(first))
    assert parts.build(first) is first


def test_a_written_part_is_a_name_or_a_class_path_with_its_options(parts: Registry[Any]) -> None:
    assert parts.parse("plain") == Spec("plain", {})
    assert parts.parse({"class_path": f"{__name__}.Part", "init_args": {"size": 1}}) == Spec("plain", {"size": 1})
    assert parts.parse({"class_path": "plain", "init_args": None}) == Spec("plain", {})
    for wrong in ({"init_args": {}}, {"class_path": "plain", "size": 1}, {}):
        with pytest.raises(UserError, match="class_path"):
            parts.parse(wrong)


def test_a_spec_is_completed_by_the_defaults_that_are_options(parts: Registry[Any]) -> None:
    assert parts.complete(Spec("plain", {"size": 1}), ()).options == {"size": 1, "name": "x"}
    assert parts.complete(Spec("plain", {}), ("name",)).options == {"size": 3}


def test_unknown_names_and_options_and_other_objects_are_refused(parts: Registry[Any]) -> None:
    with pytest.raises(UserError, match=r"'plane'.*'plain'.*plain, sized"):
        parts.create("plane")
    with pytest.raises(UserError, match="wrong"):
        parts.create(f"{__name__}.Other", wrong=1)
    with pytest.raises(UserError, match=r"Other .*distill\.Part"):
        parts.build(Other())
    assert "did you mean" not in suggest("zzz", ["plain"])


@pytest.mark.parametrize("name", ["./my_parts.py", "my_parts.py", "../parts.MyTeacher", ".MyTeacher", "parts..My"])
def test_a_file_in_place_of_a_class_is_one_line(name: str, parts: Registry[Any]) -> None:
    with pytest.raises(UserError, match=r"must be an import path of a .*my_parts\.My") as caught:
        parts.find(name)
    assert repr(name) in str(caught.value)


def test_a_file_may_name_what_is_registered_or_imported(parts: Registry[Any]) -> None:
    assert parts.is_trusted("plain")
    assert parts.is_trusted(f"{__name__}.Part")
    assert not parts.is_trusted("antigravity.fly")


def test_an_option_of_an_earlier_version_gets_its_name_of_today() -> None:
    written = {"class_path": "embedding", "init_args": {"teacher_hears": "same", "level": "clip"}}
    assert OBJECTIVES.parse(written).options == {"teacher_input": "same", "level": "clip"}
