from __future__ import annotations

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
