"""Which heavy modules a command imports, by name: what an answer does not need, it does not wait for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = (
    "torch", "torch._dynamo", "lightning", "torchmetrics", "torchmetrics.functional", "transformers", "torchaudio",
    "scipy", "sklearn", "pandas", "matplotlib", "onnx", "onnxscript", "faiss", "pyarrow",
)  # fmt: skip
# torch's L-BFGS and AdamW import torch._dynamo, and so does lightning. Lightning imports torchmetrics, whose `Metric`
# imports matplotlib.
ALLOWED: dict[str, set[str]] = {
    "list": set(),
    "fit --help": {"torch"},
    "embed --help": {"torch"},
    "probe --help": {"torch"},
    "embed": {"torch"},
    "probe": {"torch", "torch._dynamo", "matplotlib"},  # after the embedding: regression, and a picture of confusions
    "fit": {"torch", "torch._dynamo", "lightning", "torchmetrics", "matplotlib"},
}
# A command may import what those before it imported, so that one process can run several.
PROCESSES = (("list",), ("fit --help", "embed --help", "probe --help", "embed", "probe"), ("fit",))
SCRIPT = """
import contextlib, io, json, sys
from distill.cli.shell import main

heavy, commands = json.loads(sys.argv[1])
for command, words in commands:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(words)
    print(json.dumps([command, [name for name in heavy if name in sys.modules]]))
"""


def words(command: str, data: Path, out: Path) -> list[str]:
    name, *options = command.split()
    if options or name == "list":
        return [name, *options]
    student = ["--student", "mobilenet_v3", "--student.width", "0.1", "--epochs", "1"] if name == "fit" else []
    return [name, "--teacher", "spectral", *student, "--data", str(data), "--out", str(out / name)]


@pytest.mark.parametrize("commands", PROCESSES, ids=lambda commands: commands[-1])
def test_a_command_imports_only_the_heavy_modules_it_needs(
    commands: tuple[str, ...], sounds: Any, tmp_path: Path
) -> None:
    data = sounds(8)
    given = json.dumps([HEAVY, [(command, words(command, data, tmp_path)) for command in commands]])
    ended = subprocess.run([sys.executable, "-c", SCRIPT, given], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = dict(json.loads(line) for line in ended.stdout.splitlines())
    assert list(found) == list(commands), ended.stderr
    for command, modules in found.items():
        assert set(modules) <= ALLOWED[command], command
