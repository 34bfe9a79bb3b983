"""Try the published packages: install the wheel and its dependencies into an empty environment, and use it there.

    .venv/bin/python tools/check_wheel.py [FOLDER]

FOLDER holds the wheel and the sdist. Without it, both are built first, the wheel from the sdist.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
TEACHERS = {"ast": GOLDEN / "ast" / "ast_tiny", "clap": GOLDEN / "clap" / "clap_tiny_unfused"}

IMPORT_ALL = """
import importlib, pkgutil, sys
import distill

RUNS_WHEN_IMPORTED = {"distill.__main__"}
# Its class extends one of the library. Other extras are imported where they are used.
NEEDS_AN_EXTRA = {"distill.adapters.sentence_transformers"}
names = [module.name for module in pkgutil.walk_packages(distill.__path__, "distill.")]
for name in names:
    if name not in RUNS_WHEN_IMPORTED | NEEDS_AN_EXTRA:
        importlib.import_module(name)
print(f"{len(names)} modules in {distill.__path__[0]}, all can be imported")
"""
PRINT_VERSIONS = """
import platform
from importlib.metadata import version

names = ["torch", "torchaudio", "transformers", "lightning", "numpy", "faiss-cpu", "jsonargparse"]
print(", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]))
"""
RENDER = """
from pathlib import Path
import numpy as np, soundfile

Path("sounds").mkdir()
noise = np.random.default_rng(0)
for number in range(8):
    soundfile.write(f"sounds/{number}.wav", 0.1 * noise.standard_normal(16_000), 16_000)
"""
COUNT = """
from distill.data.store.reader import EmbeddingStore

for name in ("ast", "clap"):
    assert len(EmbeddingStore(name)) == 8, f"the store of {name} holds {len(EmbeddingStore(name))} clips, not 8"
"""


def main() -> None:
    """Build, compare, install and use the wheel."""
    with tempfile.TemporaryDirectory(prefix="distill_wheel_") as name:
        work = Path(name)
        folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else work / "dist"
        if len(sys.argv) < 2:
            run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, quiet=True)
        wheel, sdist = only(folder, "*.whl"), only(folder, "*.tar.gz")
        compare(wheel, sdist)
        venv.create(work / "environment", with_pip=True)
        programs = work / "environment" / "bin"
        python = programs / "python"
        run(python, "-I", "-m", "pip", "install", "--quiet", wheel, folder=work)
        run(python, "-I", "-m", "pip", "check", folder=work)
        for code in (PRINT_VERSIONS, IMPORT_ALL, RENDER):
            run(python, "-I", "-c", code, folder=work)
        run(programs / "distill", "--version", folder=work)
        for teacher, checkpoint in TEACHERS.items():
            options = ["--teacher", teacher, "--teacher.checkpoint", checkpoint, "--data", "sounds"]
            run(programs / "distill", "embed", *options, "--out", teacher, folder=work)
        run(python, "-I", "-c", COUNT, folder=work)
        options += ["--student", "mobilenet_v3", "--student.width", "0.1", "--epochs", "1", "--batch_size", "4"]
        run(programs / "distill", "fit", *options, "--out", "run", folder=work)
    print(f"{wheel.name} works")


def run(*command: str | Path, folder: Path = ROOT, quiet: bool = False) -> None:
    """Run a command. Exit with its output and status if it fails."""
    words = [str(word) for word in command]
    print("+", *(word if "\n" not in word else "..." for word in words), flush=True)
    done = subprocess.run(words, cwd=folder, check=False, capture_output=quiet, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout or ''}{done.stderr or ''}check_wheel: {words[0]} failed with code {done.returncode}")


def only(folder: Path, pattern: str) -> Path:
    """Return the only file that matches a pattern. Exit if there is not exactly one."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"check_wheel: {folder} must hold one {pattern} but holds {len(found)}: empty it and build again")
    return found[0]


def compare(wheel: Path, sdist: Path) -> None:
    """Exit if the wheel does not hold exactly the modules and data of the tree, or if the sdist holds a link."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tree = set()
    for package in tools["packages"]:
        home = ROOT / package_folder(package, tools["package-dir"])
        for pattern in ["*.py", *tools["package-data"].get(package, [])]:
            tree |= {f"{package.replace('.', '/')}/{path.name}" for path in home.glob(pattern)}
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    if tree != shipped:
        sys.exit(
            f"check_wheel: not in {wheel.name}: {sorted(tree - shipped)}; not in the tree: {sorted(shipped - tree)}"
        )
    with tarfile.open(sdist) as archive:
        links = [member.name for member in archive if member.issym() or member.islnk()]
    if links:
        sys.exit(f"check_wheel: {sdist.name} holds links, which some systems cannot unpack: {links}")


def package_folder(package: str, homes: dict[str, str]) -> Path:
    """Return the folder of a package in the tree, by the nearest parent that package-dir names."""
    parent = package
    while parent and parent not in homes:
        parent = parent.rpartition(".")[0]
    return Path(homes.get(parent, ""), *package.removeprefix(parent).strip(".").split("."))


if __name__ == "__main__":
    main()
