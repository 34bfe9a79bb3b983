"""`distill fit` in several processes: every launcher, equal results, and every end. They run on CPUs and share one."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.distill.training.test_joining import free_port, variables

FIT = ["-m", "distill", "fit", "--teacher=spectral", "--student=tests.own_parts.TinyConvolution"]
FIT += ["--engine.accelerator=cpu", "--engine.workers=0", "--batch_size=4", "--optimizer.learning_rate=0.01"]
FIT += ["--objective.dropout=0", "--objective.targets=raw"]  # so that any number of processes trains equally
RESUME = ["--resume", "--allow_import=tests"]
PYTHON = [sys.executable]
RUN = [sys.executable, "-m", "torch.distributed.run"]
TWO = ["--engine.devices=2"]


def started(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> subprocess.Popen[str]:
    """Start a command. Its errors and its output are one stream."""
    environment = {**environment, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"}
    root = Path(__file__).parents[3]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=root)


def ended(*commands: subprocess.Popen[str]) -> str:
    """Wait until commands have ended well. Return what they have printed."""
    printed = "".join(command.communicate(timeout=300)[0] for command in commands)
    assert [command.returncode for command in commands] == [0] * len(commands), printed
    return printed


def options(data: Path, out: Path, *words: str) -> list[str]:
    return [*FIT, f"--data={data}", f"--out={out}", *(words or ["--epochs=2"])]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


def assert_equal(first: Path, second: Path, resumed: bool = False) -> None:
    """Two runs have equal weights and rows. The first row after a run was resumed is the mean of fewer steps."""
    torch.testing.assert_close(weights(first), weights(second), atol=1e-5, rtol=0)
    rows = [read(run / "metrics.csv") for run in (first, second)]
    assert [row["batch"] for row in rows[0]] == [row["batch"] for row in rows[1]]
    for name, exceptions in (("loss", int(resumed)), ("validation_loss", 0)):
        values = [[float(row[name]) for row in table if row[name]] for table in rows]
        different = [pair for pair in zip(*values, strict=True) if pair[0] != pytest.approx(pair[1], abs=1e-4)]
        assert len(different) <= exceptions, different


def read(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def assert_complete(run: Path, printed: str) -> None:
    """One run folder, every row and every line once."""
    rows = [tuple(row.values()) for row in read(run / "metrics.csv")]
    assert len(rows) == len(set(rows)) >= 2
    assert printed.count("student of ") == printed.count("batch 4 = 2 x 2 (devices x clips)") == 1
    assert printed.count("teacher: spectral") == 1
    assert not list(run.rglob(".*.tmp"))
    assert weights(run)


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("strategy", ["auto", "ddp_fork", slow("ddp"), slow("ddp_spawn")])
def test_several_devices_train_one_student(strategy: str, sounds: Callable[..., Path], tmp_path: Path) -> None:
    words = options(sounds(16), tmp_path / "run", "--epochs=2", f"--engine.strategy={strategy}", *TWO)
    assert_complete(tmp_path / "run", ended(started([*PYTHON, *words])))


def test_torchrun_starts_the_processes(sounds: Callable[..., Path], tmp_path: Path) -> None:
    words = [*RUN, "--nproc_per_node=2", "--master_port", str(free_port()), *options(sounds(16), tmp_path / "run")]
    assert_complete(tmp_path / "run", ended(started(words)))


def test_srun_starts_the_processes(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, port = sounds(16), free_port()
    tasks = [started([*PYTHON, *options(data, tmp_path / "run")], variables(rank, 2, port)) for rank in range(2)]
    assert_complete(tmp_path / "run", ended(*tasks))


@pytest.mark.slow
def test_python_trains_on_several_devices_and_returns_the_student(sounds: Callable[..., Path], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import distill\nif __name__ == '__main__':\n"
        "    student = distill.create_student('tests.own_parts.TinyConvolution', channels=6)\n"
        "    student = distill.fit(teacher='spectral', student=student, epochs=1, batch_size=4,\n"
        f"        data={str(sounds(16))!r}, out={str(tmp_path / 'run')!r},\n"
        "        engine={'devices': 2, 'accelerator': 'cpu', 'workers': 0})\n"
        "    print('returned', type(student).__name__, student.training, student.clip_dim)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert "returned TinyConvolution False 6\n" in ended(started([*PYTHON, str(script)], environment))


def test_two_processes_train_the_student_that_one_trains(sounds: Callable[..., Path], tmp_path: Path) -> None:
    """Also with a clip that cannot be read, so that in some steps one process has no clip at all."""
    data, broken = sounds(13), {f"broken{number}.wav" for number in range(5)}  # more than are held out
    for name in broken:
        (data / name).write_text("no audio")
    words = ["--live", "--epochs=3", "--batch_size=2", "--validation=0.2"]
    for name, devices in (("one", []), ("two", [*TWO, "--engine.strategy=ddp_fork"])):
        printed = ended(started([*PYTHON, *options(data, tmp_path / name, *words, *devices)]))
        assert printed.count("5 of 18 clips could not be used") == 1
        assert {row["id"] for row in read(tmp_path / name / "set_aside.csv")} == broken
    assert_equal(tmp_path / "one", tmp_path / "two")


def test_a_mistake_is_printed_once_and_nothing_is_written(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, port = sounds(4), free_port()
    words = [*PYTHON, *options(data, tmp_path / "run", "--crop.position=random")]
    tasks = [started(words, variables(rank, 2, port)) for rank in range(2)]
    printed = "".join(task.communicate(timeout=120)[0] for task in tasks)
    assert [task.returncode for task in tasks] == [2, 2]
    read_as, error = printed.splitlines()
    assert read_as.startswith("data: folder ")
    assert error == "distill: error: --crop.position random requires --live: a stored embedding is that of one crop"
    assert not (tmp_path / "run").exists()


LONG = ["--epochs=150", "--validation=0.25", "--engine.checkpoint_minutes=0.01"]
"""A run of some hundred steps. It is interrupted after the first of them."""


def tasks_of_srun(data: Path, out: Path, *words: str, others: Sequence[str] = ()) -> list[subprocess.Popen[str]]:
    """Start two processes as srun does. The second one may have other words."""
    port = free_port()
    return [
        started([*PYTHON, *options(data, out, *words), *(others if rank else ())], variables(rank, 2, port))
        for rank in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("others", "line"),
    [
        (["--epochs=3"], "distill: error: the processes must be of one run, but: --epochs 3 on rank 1, 2 on rank 0"),
        (["--data={other}"], "distill: error: the processes must be of one run, but: data "),
    ],
)
def test_processes_of_different_runs_are_refused(
    others: Sequence[str], line: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(sounds(4), other)
    (other / "more.wav").write_bytes(next(other.rglob("*.wav")).read_bytes())
    words = [word.format(other=other) for word in others]
    tasks = tasks_of_srun(tmp_path / "sounds", tmp_path / "run", "--epochs=2", others=words)
    printed = "".join(task.communicate(timeout=120)[0] for task in tasks)
    assert [task.returncode for task in tasks] == [2, 2]
    assert printed.count("error:") == printed.count(line) == 1, printed
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_machine_that_is_lost_ends_the_run_with_one_line(
    killed: int, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    tasks = tasks_of_srun(sounds(16), tmp_path / "run", *LONG)
    wait_for_rows(tmp_path / "run", tasks[0])
    tasks[killed].kill()
    began = time.monotonic()
    printed = [task.communicate(timeout=120)[0] for task in tasks][1 - killed]
    assert time.monotonic() - began < 60
    assert tasks[1 - killed].returncode == 2
    assert printed.count("error:") == 1, printed
    assert re.search(rf"error: rank {killed} .*was lost: ", printed), printed
    ended(started([*PYTHON, *FIT[:3], *RESUME, f"--out={tmp_path / 'run'}", "--max_steps=460"]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_torchrun_ends_all_when_one_is_killed(sounds: Callable[..., Path], tmp_path: Path) -> None:
    words = [*RUN, "--nproc_per_node=2", "--master_port", str(free_port())]
    words += options(sounds(16), tmp_path / "run", *LONG)
    ranks: list[int] = []

    def kill_last(command: subprocess.Popen[str]) -> None:
        ranks.extend(processes(command.pid).values())
        kill_rank(command, 1, signal.SIGKILL)

    printed, code = interrupted(words, tmp_path / "run", kill_last)
    assert code == 1
    assert printed.count("distill: error: ") <= 1, printed
    assert not [number for number in ranks if Path(f"/proc/{number}").exists()]
    resumed = [*RUN, "--nproc_per_node=3", "--master_port", str(free_port()), *FIT[:3], *RESUME]
    ended(started([*resumed, f"--out={tmp_path / 'run'}"]))


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_with_two(sounds: Callable[..., Path], tmp_path: Path) -> None:
    words = options(sounds(16), tmp_path / "run", *LONG)
    interrupted([*PYTHON, *words], tmp_path / "run", subprocess.Popen.kill)
    assert "batch 4 = 2 x 2" in ended(
        started([*PYTHON, *FIT[:3], *RESUME, f"--out={tmp_path / 'run'}", *TWO, "--engine.strategy=ddp_fork"])
    )
    ended(started([*PYTHON, *options(tmp_path / "sounds", tmp_path / "whole", *LONG)]))
    assert_equal(tmp_path / "run", tmp_path / "whole", resumed=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_disk_that_is_full_at_rank_0_ends_all_with_one_line(sounds: Callable[..., Path], tmp_path: Path) -> None:
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "limited"]  # 4 kB
    port, words = free_port(), options(sounds(16), tmp_path / "run", "--live", *LONG)
    tasks = [started([*(limited if rank == 0 else []), *PYTHON, *words], variables(rank, 2, port)) for rank in range(2)]
    printed = "".join(task.communicate(timeout=120)[0] for task in tasks)
    assert [task.returncode for task in tasks] == [74, 74], printed
    assert printed.count("error:") == printed.count("File too large") == 1, printed
    assert "Traceback" not in printed


def processes(parent: int) -> dict[int, int]:
    """Return the processes of a command by rank."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                read_environment = (entry / "environ").read_bytes().split(b"\0")
                status = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(status[1]) == parent and (rank := [v[5:] for v in read_environment if v.startswith(b"RANK=")]):
                found[int(rank[0])] = int(entry.name)
    return found


def interrupted(words: Sequence[str], run: Path, end: Callable[[subprocess.Popen[str]], None]) -> tuple[str, int]:
    """Start a long run, end it after its first row of metrics, and return what it has printed and its exit code."""
    command = started(words)
    wait_for_rows(run, command)
    end(command)
    began = time.monotonic()
    printed = command.communicate(timeout=120)[0]
    assert time.monotonic() - began < 60
    return printed, command.returncode


def wait_for_rows(run: Path, command: subprocess.Popen[str]) -> None:
    """Wait until a command has written its first rows of metrics."""
    while not (run / "metrics.csv").exists() or len(read(run / "metrics.csv")) < 3:
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.02)


def kill_rank(command: subprocess.Popen[str], rank: int, number: int) -> None:
    os.kill(processes(command.pid)[rank], number)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize(
    ("end", "code", "line"),
    [
        (lambda command: command.send_signal(signal.SIGTERM), 143, "error: stopped at batch"),
        (lambda command: command.send_signal(signal.SIGINT), 130, "error: stopped at batch"),
        (lambda command: kill_rank(command, 1, signal.SIGTERM), 143, "error: stopped at batch"),
        (lambda command: kill_rank(command, 1, signal.SIGKILL), 2, "error: rank 1 (process"),
        (lambda command: kill_rank(command, 0, signal.SIGKILL), 2, "error: rank 0 (process"),
    ],
    ids=["SIGTERM", "SIGINT", "SIGTERM_to_rank_1", "SIGKILL_of_rank_1", "SIGKILL_of_rank_0"],
)
def test_an_interrupted_run_goes_on_with_another_number_of_processes(
    end: Callable[[subprocess.Popen[str]], None], code: int, line: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    words = options(sounds(16), tmp_path / "run", *LONG)
    printed, returned = interrupted([*PYTHON, *words, *TWO], tmp_path / "run", end)
    assert returned == code, printed
    assert printed.count("error:") == printed.count(line) == 1, printed
    devices = "--engine.devices=3" if code == 143 else "--engine.devices=1"
    assert "continuing from" in ended(started([*PYTHON, *FIT[:3], *RESUME, f"--out={tmp_path / 'run'}", devices]))
    ended(started([*PYTHON, *options(tmp_path / "sounds", tmp_path / "whole", *LONG)]))
    assert_equal(tmp_path / "run", tmp_path / "whole", resumed=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_run_goes_on_after_all_processes_were_killed(sounds: Callable[..., Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranks: list[int] = []

    def kill_all(command: subprocess.Popen[str]) -> None:
        ranks.extend(processes(command.pid).values())
        for number in (command.pid, *ranks):
            os.kill(number, signal.SIGKILL)

    interrupted([*PYTHON, *options(sounds(16), run, *LONG), *TWO], run, kill_all)
    assert len(ranks) == 2
    ended(started([*PYTHON, *FIT[:3], *RESUME, f"--out={run}"]))
    assert yaml.safe_load((run / "config.yaml").read_text())["engine"]["devices"] == 2
    ended(started([*PYTHON, *options(tmp_path / "sounds", tmp_path / "whole", *LONG)]))
    assert_equal(run, tmp_path / "whole", resumed=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_processes_end_when_their_parent_is_killed(sounds: Callable[..., Path], tmp_path: Path) -> None:
    ranks: list[int] = []

    def kill_parent(command: subprocess.Popen[str]) -> None:
        ranks.extend(processes(command.pid).values())
        command.kill()

    interrupted([*PYTHON, *options(sounds(16), tmp_path / "run", *LONG), *TWO], tmp_path / "run", kill_parent)
    began = time.monotonic()
    while any(Path(f"/proc/{number}").exists() for number in ranks):
        assert time.monotonic() - began < 60
        time.sleep(0.1)
