"""Count rooms, imports between them, lengths of functions and files, and files without tests. Compare with the goals.

    python tools/structure.py [ROOT]

A room is a folder, or a loose .py file beside folders. An arrow is one room that imports another, also inside a
function; imports under `if TYPE_CHECKING:` do not count. An arrow runs back up when it goes from a lower row of the
import contract in pyproject.toml to a higher row. Floors are the rooms on the longest chain of arrows. The links in
distill/ to data/, teachers/ and students/ are not followed. The test of FOLDER/NAME.py is tests/FOLDER/test_NAME.py.

The exit status is 1 when a goal is missed.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("data", "teachers", "students", "distill")
MAX_FUNCTION_LINES, MAX_FILE_LINES, MAX_MEDIAN_LINES = 60, 400, 10
NOT_TESTED = ("__init__.py", "__main__.py")  # names of files that need no test of their own
DECLARATIONS = (  # files that only declare values
    "distill/evaluation/settings.py",
    "distill/training/engine.py",
    "teachers/published.py",
)
Arrows = dict[tuple[str, str], Path]  # (importing room, imported room): a file that imports


class Count(NamedTuple):
    """One line of the table. `found` names what to look at when the goal is missed."""

    place: str
    name: str
    value: float
    goal: float  # the highest value that is allowed
    found: Iterable[str] = ()


def main(root: Path) -> int:
    """Print the table. Return 1 when a goal is missed, otherwise 0."""
    rooms = [*top(root), *inside(root, "distill", 12, 7, 24), *inside(root, "distill.data", 9, 5, 20)]
    counts = [*rooms, *lengths(root), files_without_test(root)]
    print(f"{'place':<10}{'count':<28}{'now':>5}{'goal':>6}")
    for count in counts:
        verdict = "" if count.value <= count.goal else "  missed: " + (", ".join(count.found) or "too many")
        print(f"{count.place:<10}{count.name:<28}{count.value:>5g}{count.goal:>6g}{verdict}")
    return int(any(count.value > count.goal for count in counts))


def top(root: Path) -> list[Count]:
    """Count arrows between the top folders and experiments/, whose rows follow from the contract of distill."""
    rows = contract_rows(root, "distill")
    linked = FOLDERS[:-1]
    rows = {
        **{room: row for room, row in rows.items() if room in linked},
        "distill": max(row for room, row in rows.items() if room not in linked),
        "experiments": -1,
    }

    def room_of(module: str) -> str | None:
        first, _, rest = module.partition(".")
        second = rest.partition(".")[0]
        return second if first == "distill" and second in linked else first if first in rows else None

    arrows = arrows_between({room: python_files(root / room) for room in rows}, room_of)
    return list(judge(root, "top", arrows, rows, 9))


def inside(root: Path, package: str, max_rooms: int, max_floors: int, max_arrows: int) -> list[Count]:
    """Count rooms, floors and arrows inside the folder of a package."""
    place = package.rpartition(".")[2]
    rooms = rooms_of(root / place)

    def room_of(module: str) -> str | None:
        inner = module.removeprefix(f"{package}.").partition(".")[0]
        return inner if module.startswith(f"{package}.") and inner in rooms else None

    arrows = arrows_between(rooms, room_of)
    floors = max((longest_chain(room, arrows) for room in rooms), default=0)
    return [
        Count(place + "/", "rooms", len(rooms), max_rooms, rooms),
        Count(place + "/", "floors", floors, max_floors),
        *judge(root, place + "/", arrows, contract_rows(root, package), max_arrows),
    ]


def judge(root: Path, place: str, arrows: Arrows, rows: dict[str, int], max_arrows: int) -> Iterator[Count]:
    """Yield the counts of arrows, of arrows that run back up, and of circles. A lower layer has a greater row."""
    missing = sorted({room for arrow in arrows for room in arrow} - rows.keys())
    if missing:
        sys.exit(f"structure: {place} has rooms without a row in the import contract: {', '.join(missing)}")
    back_up = [
        f"{source} -> {target} ({file.relative_to(root)})"
        for (source, target), file in arrows.items()
        if rows[source] > rows[target]
    ]
    circles = circles_of(arrows)
    yield Count(place, "arrows", len(arrows), max_arrows, (" -> ".join(arrow) for arrow in arrows))
    yield Count(place, "arrows back up", len(back_up), 0, back_up)
    yield Count(place, "circles", len(circles), 0, (" <-> ".join(circle) for circle in circles))


def lengths(root: Path) -> list[Count]:
    """Count long functions and long files, and take the median length of a function, docstring included."""
    long_files, functions = [], {}
    for folder in FOLDERS:
        for path in python_files(root / folder):
            text = path.read_text()
            name = path.relative_to(root)
            if len(text.splitlines()) > MAX_FILE_LINES:
                long_files.append(str(name))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    functions[f"{name}:{node.lineno} {node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    long_functions = [name for name, lines in functions.items() if lines > MAX_FUNCTION_LINES]
    return [
        Count("all", f"functions over {MAX_FUNCTION_LINES} lines", len(long_functions), 0, long_functions),
        Count("all", f"files over {MAX_FILE_LINES} lines", len(long_files), 0, long_files),
        Count("all", "median function, lines", statistics.median(functions.values() or [0]), MAX_MEDIAN_LINES),
    ]


def files_without_test(root: Path) -> Count:
    """Count the files without a test file of their name in the folder of tests/ that mirrors theirs."""
    files = [path.relative_to(root) for folder in FOLDERS for path in python_files(root / folder)]
    missing = [
        str(file)
        for file in files
        if file.name not in NOT_TESTED and file.as_posix() not in DECLARATIONS
        if not (root / "tests" / file.parent / f"test_{file.name}").is_file()
    ]
    return Count("all", "files without a test file", len(missing), 0, missing)


def contract_rows(root: Path, package: str) -> dict[str, int]:
    """Return the row of each room in the layers contract of a package; row 0 is the highest layer."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["containers"] == [package])
    return {room.strip(" ()"): row for row, line in enumerate(layers) for room in line.replace(":", "|").split("|")}


def rooms_of(folder: Path) -> dict[str, list[Path]]:
    """Return the Python files of each room of a folder."""
    rooms = {path.name: python_files(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    loose = {path.stem: [path] for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "__main__")}
    return {name: files for name, files in {**rooms, **loose}.items() if files}


def python_files(folder: Path) -> list[Path]:
    """Return the Python files below a folder. Links, and what lies behind them, are left out."""
    if folder.is_symlink():
        return []
    inner = [path for child in sorted(folder.iterdir()) if child.is_dir() for path in python_files(child)]
    return [*sorted(folder.glob("*.py")), *inner]


def arrows_between(rooms: dict[str, list[Path]], room_of: Callable[[str], str | None]) -> Arrows:
    """Return the arrows between rooms; `room_of` finds the room of a module, None outside of the place."""
    arrows: Arrows = {}
    for source, files in rooms.items():
        for file in files:
            for module in imported(ast.parse(file.read_text())):
                target = room_of(module)
                if target is not None and target != source:
                    arrows.setdefault((source, target), file)
    return arrows


def imported(node: ast.AST) -> Iterator[str]:
    """Yield "module" or "module.name" of every import below a node that happens when the code runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                sys.exit(f"structure: {ast.unparse(child)!r} cannot be counted: import from distill instead")
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imported(ast.Module(child.orelse, []))
        else:
            yield from imported(child)


def longest_chain(room: str, arrows: Arrows, passed: tuple[str, ...] = ()) -> int:
    """Return the number of rooms on the longest chain of arrows from a room; no room is passed twice."""
    passed = (*passed, room)
    onward = [target for source, target in arrows if source == room and target not in passed]
    return 1 + max((longest_chain(target, arrows, passed) for target in onward), default=0)


def circles_of(arrows: Arrows) -> set[tuple[str, ...]]:
    """Return the groups of rooms that reach each other."""
    rooms = {room for arrow in arrows for room in arrow}
    reached = {room: reachable(room, arrows) for room in rooms}
    groups = {tuple(sorted(other for other in reached[room] if room in reached[other])) for room in rooms}
    return {group for group in groups if group}


def reachable(room: str, arrows: Arrows) -> set[str]:
    """Return the rooms to which arrows lead from a room, directly or by others."""
    found: set[str] = set()
    waiting = [room]
    while waiting:
        source = waiting.pop()
        new = {target for origin, target in arrows if origin == source} - found
        found |= new
        waiting += new
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])))
