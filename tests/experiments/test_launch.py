"""The examples of experiments/launch/ run: with stand-ins for srun, docker and pip, at a tiny size, on CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distill.commands.test_fit_devices import FIT, ended, read, started, weights
from tests.distill.training.test_joining import free_port

FOLDER = Path(__file__).parents[2] / "experiments" / "launch"
TINY = [*FIT[5:], "--epochs=2", "--student=tests.own_parts.TinyConvolution"]

SRUN = """#!/bin/bash
# Two tasks, as on one machine.
while [[ $1 == -* ]]; do shift; done
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!); done
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit "${code:-0}"
"""
DOCKER = '#!/bin/bash\nexec "${@: -3}"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose programs are stand-ins."""
    programs = tmp_path / "bin"
    programs.mkdir()
    modules = {"distill": "distill", "torchrun": "torch.distributed.run"}
    texts = {name: f'#!/bin/bash\nexec {sys.executable} -m {module} "$@"\n' for name, module in modules.items()}
    for name, text in {**texts, "srun": SRUN, "docker": DOCKER, "pip": "#!/bin/bash\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))}
    return {**kept, "PATH": f"{programs}:{os.environ['PATH']}", "DEVICES": "2", "CUDA_VISIBLE_DEVICES": ""}


def adapted(name: str, folder: Path, **changes: str) -> str:
    """Return an example after the changes that a user makes. Each of the old texts must be there."""
    text = (FOLDER / name).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_an_example_is_a_screen_long_and_has_no_error_of_syntax(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert len(script.read_text().splitlines()) <= 40
    assert "# Change: " in script.read_text()


@pytest.mark.slow
def test_slurm(environment: dict[str, str], sounds: Callable[..., Path], tmp_path: Path) -> None:
    """The second job of a requeued run resumes it."""
    slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "5", "SLURM_CPUS_PER_TASK": "1", "MASTER_PORT": str(free_port())}
    script = adapted(
        "slurm.sh",
        tmp_path,
        **{
            'source "$HOME/venv/bin/activate"': "",
            '--teacher beats --teacher.checkpoint "$SCRATCH/BEATs_iter3_plus.pt" --student hear': (
                f"--teacher spectral {' '.join(TINY)}"
            ),
            "$SCRATCH/audioset": str(sounds(16)),
            "--engine.workers 7": "--engine.workers 0",
            "distill fit": "distill fit --allow_import tests",
        },
    )
    environment |= {**slurm, "SCRATCH": str(tmp_path)}
    assert "batch 4 = 2 x 2" in ended(started(["bash", script], environment))
    assert weights(tmp_path / "runs" / "first")
    assert "has ended already" in ended(started(["bash", script], environment))


@pytest.mark.slow
def test_torchrun_on_two_machines(environment: dict[str, str], sounds: Callable[..., Path], tmp_path: Path) -> None:
    environment |= {"MACHINES": "2", "PORT": str(free_port()), "DEVICES": "1", "TEACHER": "spectral"}
    environment |= {"STUDENT": "tests.own_parts.TinyConvolution"}
    words = [str(FOLDER / "torchrun.sh"), f"--data={sounds(16)}", f"--out={tmp_path / 'run'}", *TINY[:-1]]
    addresses = ("127.0.0.1", "127.0.0.2")
    nodes = [started(["bash", *words], {**environment, "LOCAL_ADDRESS": address}) for address in addresses]
    assert ended(*nodes).count("student of ") == 1
    rows = [tuple(row.values()) for row in read(tmp_path / "run" / "metrics.csv")]
    assert len(rows) == len(set(rows)) >= 2


@pytest.mark.slow
def test_docker(environment: dict[str, str], sounds: Callable[..., Path], tmp_path: Path) -> None:
    script = adapted(
        "docker.sh",
        tmp_path,
        **{
            "--data /data": f"--data {sounds(16)} {' '.join(TINY)}",
            "--student cnn": "",
            "--teacher musicnn": "--teacher spectral",
            "/runs/first": str(tmp_path / "first"),
            "fit --resume": "fit --resume --allow_import tests",
        },
    )
    assert "batch 4 = 2 x 2" in ended(started(["bash", script], environment))
    assert "has ended already" in ended(started(["bash", script], environment))
