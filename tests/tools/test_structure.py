from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Table = Callable[[dict[str, str]], tuple[int, str]]
SCRIPT = Path(__file__).parents[2] / "tools" / "structure.py"
CONTRACTS = """
[[tool.importlinter.contracts]]
containers = ["distill"]
layers = ["cli", "run | evaluation", "students | teachers", "data"]

[[tool.importlinter.contracts]]
containers = ["distill.data"]
layers = ["clips", "store | audio", "errors"]
"""
CLEAN = {
    "data/__init__.py": "",
    "data/clips/table.py": "from distill.data.store import reader\nfrom distill.data import errors",
    "data/store/reader.py": "import distill.data.errors",
    "data/errors.py": "",
    "students/student.py": "from distill.data.errors import UserError",
    "teachers/teacher.py": "",
    "distill/cli/shell.py": "def main():\n    from distill.run.job import Job",
    "distill/run/job.py": "from distill.students.student import Student",
    "experiments/demo.py": "import distill",
}
CLEAN |= {f"tests/{Path(name).parent}/test_{Path(name).name}": "" for name in CLEAN if not name.endswith("__init__.py")}
TEST_OF_WRITER = {"tests/data/store/test_writer.py": ""}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Return the exit status and the table of a tree of files."""

    def count(files: dict[str, str]) -> tuple[int, str]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        (tmp_path / "pyproject.toml").write_text(CONTRACTS)
        for folder in ("data", "teachers", "students"):
            (tmp_path / "distill" / folder).symlink_to(f"../{folder}")
        done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return count


def row(table: str, place: str, name: str) -> str:
    """Return a line of the table, with single spaces."""
    lines = (" ".join(line.split()) for line in table.splitlines())
    return next(line for line in lines if line.startswith(f"{place} {name} "))


def test_a_clean_tree_is_counted_without_following_links(table: Table) -> None:
    status, text = table(CLEAN)
    assert status == 0, text
    assert (
        row(text, "top", "arrows") == "top arrows 3 9"
    )  # students -> data, distill -> students, experiments -> distill
    assert row(text, "distill/", "rooms") == "distill/ rooms 2 12"
    assert row(text, "distill/", "arrows") == "distill/ arrows 1 24"  # inside a function
    assert row(text, "data/", "rooms") == "data/ rooms 3 9"
    assert row(text, "data/", "floors") == "data/ floors 3 5"  # clips, store, errors
    assert row(text, "data/", "arrows") == "data/ arrows 3 20"


def test_a_circle_and_an_import_back_up_are_found(table: Table) -> None:
    status, text = table(
        CLEAN | {"data/store/writer.py": "def write():\n    from distill.data.clips import table"} | TEST_OF_WRITER
    )
    assert status == 1
    assert row(text, "data/", "arrows back up").endswith("1 0 missed: store -> clips (data/store/writer.py)")
    assert row(text, "data/", "circles").endswith("1 0 missed: clips <-> store")
    assert row(text, "top", "circles").endswith(" 0 0")


def test_a_teacher_that_imports_distill_runs_back_up(table: Table) -> None:
    status, text = table(CLEAN | {"teachers/teacher.py": "from distill.run.job import Job"})
    assert status == 1
    assert row(text, "top", "arrows back up").endswith("missed: teachers -> distill (teachers/teacher.py)")


def test_imports_for_types_alone_do_not_count(table: Table) -> None:
    only_types = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from distill.data.clips import table\n"
    status, text = table(CLEAN | {"data/store/writer.py": only_types} | TEST_OF_WRITER)
    assert status == 0, text
    assert row(text, "data/", "arrows") == "data/ arrows 3 20"


def test_long_functions_and_files_are_named(table: Table) -> None:
    long = "\n\ndef short():\n    pass\n\n\ndef long():\n" + 60 * "    pass\n" + 400 * "\n"
    status, text = table(CLEAN | {"students/student.py": long})
    assert status == 1
    assert row(text, "all", "functions over 60 lines").endswith("1 0 missed: students/student.py:7 long")
    assert row(text, "all", "files over 400 lines").endswith("1 0 missed: students/student.py")


def test_a_room_without_a_row_in_the_contract_is_refused(table: Table) -> None:
    status, text = table(CLEAN | {"data/new.py": "import distill.data.errors"})
    assert status == 1
    assert text == "structure: data/ has rooms without a row in the import contract: new\n"


def test_files_without_a_test_of_their_name_are_named_except_declarations(table: Table) -> None:
    new = ("data/store/writer.py", "distill/run/clusters.py", "teachers/published.py", "distill/__main__.py")
    elsewhere = {"tests/distill/test_clusters.py": "", "tests/data/store/test_store.py": ""}
    status, text = table(CLEAN | dict.fromkeys(new, "") | elsewhere)
    assert status == 1
    found = row(text, "all", "files without a test file")
    assert found.endswith("2 0 missed: data/store/writer.py, distill/run/clusters.py")
