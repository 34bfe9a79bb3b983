from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def test_the_lock_fits_the_ranges_and_holds_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "//" not in lock
    assert "file:" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock
    pins: dict[str, list[str]] = {}
    for entry in re.findall(r"^\S.*(?:\n .*)*", re.sub(r"^ *#.*\n", "", lock, flags=re.M), re.M):
        match = re.match(r"([\w.-]+)==(\S+)", entry)
        assert match, entry
        assert "--hash=sha256:" in entry
        pins.setdefault(match[1], []).append(match[2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    extras = project["project"]["optional-dependencies"]
    for name in ("dev", *Requirement(extras["dev"][0]).extras):  # the others are for users: the tests do without them
        wanted += [text for text in extras[name] if not text.startswith("audio-distill")]
    for requirement in map(Requirement, wanted):
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    script = (ROOT / "tools" / "environment.sh").read_text()
    supported = re.search(r'^supported="(.*)"', script, re.M)
    assert supported
    versions = supported[1].split()[::-1]
    assert versions == [text.split()[-1] for text in project["classifiers"] if "Python ::" in text]
    first, last = versions[0], int(versions[-1].split(".")[1])
    assert project["requires-python"] == f">={first},<3.{last + 1}"
    readme = (ROOT / "README.md").read_text()
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in readme


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("#!/bin/sh\necho 3.10\n", "is Python 3.10. Python 3.11, 3.12, 3.13 or 3.14 is needed"),
        ("#!/bin/sh\nexit 127\n", "does not run. Python 3.11, 3.12, 3.13 or 3.14 is needed"),
        ("#!/bin/sh\ncase $2 in *ensurepip*) exit 1; esac\necho 3.13\n", "apt install python3.13-venv"),
    ],
)
def test_a_python_that_cannot_make_an_environment_is_refused_in_one_line(
    tmp_path: Path, python: str, said: str
) -> None:
    program = tmp_path / "python"
    program.write_text(python)
    program.chmod(0o755)
    script = tmp_path / "repository" / "tools" / "environment.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "tools" / "environment.sh").read_bytes())
    done = subprocess.run(["sh", script, "ready", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
