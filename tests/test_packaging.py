from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_shipped() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    homes = {"distill": "distill", **tools["package-dir"]}
    found = set()
    for package, folder in homes.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            if not (package == "distill" and parts[:1] in {("data",), ("teachers",), ("students",)}):
                found.add(".".join([package, *parts]))
    assert found == set(tools["packages"])


def test_the_links_lead_to_the_folders() -> None:
    for name in ("data", "teachers", "students"):
        assert (ROOT / "distill" / name).resolve() == ROOT / name


def test_everything_public_can_be_imported() -> None:
    import distill

    assert all(getattr(distill, name) is not None for name in distill.__all__)


def test_no_module_of_ours_imports_what_only_some_systems_have_or_torchaudio() -> None:
    banned = {"fcntl", "resource", "termios", "pwd", "grp", "torchaudio"}
    for folder in ("data", "teachers", "students", "distill"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:  # at the top level: what a function imports, it guards
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not banned & {name.partition(".")[0] for name in names}, path
