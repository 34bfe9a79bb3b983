"""Labels in cells: one, several, and lists in the spellings of JSON, pandas and numpy."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.tables.labels import as_cell, parse_cells, written_list
from distill.data.errors import UserError

SPEECH = "Male speech, man speaking"


@pytest.mark.parametrize(
    ("cells", "several", "labels", "remark"),
    [
        ([SPEECH, "Dog"], False, [(SPEECH,), ("Dog",)], "1 labels with a comma are kept whole"),
        (["rain; thunder"], False, [("rain; thunder",)], ""),
        (["dog;animal", "cat", ""], True, [("dog", "animal"), ("cat",), ()], "separated by ';'"),
        (["dog|animal", SPEECH], True, [("dog", "animal"), (SPEECH,)], "separated by '|'"),
        ([f"{SPEECH};Dog"], True, [(SPEECH, "Dog")], "separated by ';'"),
        (["dog, cat"], True, [("dog", "cat")], "separated by ','"),
        ([f'"{SPEECH}",Dog'], True, [(SPEECH, "Dog")], "separated by ','"),
        (["dog", "cat"], True, [("dog",), ("cat",)], ""),
        ([" dog ", "dog;dog"], True, [("dog",), ("dog",)], "separated by ';'"),
        (["['dog', 'animal']"], True, [("dog", "animal")], ""),
        (["['dog', 'animal']"], False, [("dog", "animal")], ""),
        (['["dog", "animal"]', "cat"], False, [("dog", "animal"), ("cat",)], ""),
        (["['dog' 'animal']", "['a'\n 'b']"], True, [("dog", "animal"), ("a", "b")], ""),
        ([f"['{SPEECH}']"], True, [(SPEECH,)], ""),
        (["[]", "[3, 4]", "[null]"], True, [(), ("3", "4"), ()], ""),
        (["[dog", "[x] y", "[dog]"], False, [("[dog",), ("[x] y",), ("[dog]",)], ""),
        ([("a, b", " c ", "")], False, [("a, b", "c")], ""),
    ],
)
def test_labels_of_cells(
    cells: list[str | tuple[str, ...]], several: bool, labels: list[tuple[str, ...]], remark: str
) -> None:
    parsed = parse_cells(Path("t.csv"), "kind", cells, several)
    assert list(parsed.labels) == labels
    assert (remark in parsed.remarks[0] and "'kind'" in parsed.remarks[0]) if remark else not parsed.remarks


@pytest.mark.parametrize(
    "text", ["['a'", "[" * 5000 + "]" * 5000, "[{'a': 1}]", "[[1]]", "[a, b]", "[1 2", "[x for x in y]", "[]]"]
)
def test_other_text_is_not_a_list(text: str) -> None:
    assert written_list(text) is None


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (float("nan"), ""),
        (3, "3"),
        (True, "True"),
        (1.5, "1.5"),
        ("a", "a"),
        (["a", 2], ("a", "2")),
        ([], ()),
        (b"caf\xe9", "caf\udce9"),
    ],
)
def test_values_become_cells(value: object, cell: object) -> None:
    assert as_cell(value) == cell


def test_numbers_of_classes_become_names() -> None:
    assert [as_cell(value, ("cat", "dog")) for value in (0, 1, -1, 7, "x", [1, 0])] == [
        "cat",
        "dog",
        "",
        "7",
        "x",
        ("dog", "cat"),
    ]


def test_a_mapping_is_no_label_and_labels_are_text() -> None:
    with pytest.raises(ValueError, match="a mapping"):
        as_cell({"a": 1})
    with pytest.raises(UserError, match="not UTF-8"):
        parse_cells(Path("t.csv"), "label", ["caf\udce9"], several=False)
