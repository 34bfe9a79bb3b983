"""The start of several processes by this package, and all ways in which they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from distill.data.errors import UserError
from distill.run.launcher import launch, starts_processes
from distill.run.resuming import Stopped
from distill.training.engine import Engine
from tests.distill.run.launched_work import NotImportable, work

TWO = Engine(accelerator="cpu", devices=2, strategy="ddp_fork")
SPAWNED = Engine(accelerator="cpu", devices=2)


@pytest.mark.parametrize(
    ("engine", "gpus", "message"),
    [
        (Engine(devices=0), 0, "must be at least 1"),
        (Engine(devices=4), 2, "this machine has 2 GPU"),
        (Engine(devices=2, accelerator="gpu"), 0, "there is no GPU"),
        (Engine(num_nodes=2, devices=4), 0, "torchrun --nnodes 2 --nproc_per_node 4 .* or in a SLURM job srun"),
    ],
)
def test_devices_that_are_not_there_get_one_line(
    engine: Engine, gpus: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=message):
        starts_processes(engine)


@pytest.mark.parametrize(
    ("engine", "gpus", "starts"),
    [
        (Engine(), 4, False),
        (Engine(devices=2), 2, True),
        (Engine(devices=2), 0, True),
        (Engine(devices=8, accelerator="cpu"), 0, True),
    ],
)
def test_several_devices_need_several_processes(
    engine: Engine, gpus: int, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert starts_processes(engine) is starts


def test_a_process_of_a_launcher_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SLURM_NTASKS", "2"), ("SLURM_PROCID", "1"), ("SLURM_LOCALID", "1")):
        monkeypatch.setenv(name, value)
    assert not starts_processes(Engine(devices=2, accelerator="cpu"))


@pytest.mark.parametrize("engine", [TWO, SPAWNED], ids=["fork", "spawn"])
def test_each_process_works_and_knows_its_place(engine: Engine, tmp_path: Path) -> None:
    launch(engine, work, "good", tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"good0": "2 0", "good1": "2 1"}
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("wrong", "rank 1: no such file", 2),
        ("crash", r"rank 1: ZeroDivisionError: division by zero \(its traceback is above\)", 1),
        ("killed", r"rank 1 \(process \d+\) was killed by SIGKILL", 2),
    ],
)
def test_the_first_process_that_fails_ends_the_others_with_one_line(
    kind: str, message: str, code: int, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        launch(TWO, work, kind, tmp_path)
    assert caught.value.exit_code == code
    assert time.monotonic() - began < 60
    assert not multiprocessing.active_children()


def test_an_error_that_all_share_is_raised_once_with_its_class(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="stopped at batch 3") as caught:
        launch(TWO, work, "stopped", tmp_path)
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_what_cannot_be_sent_to_the_processes_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an argument cannot be sent to them .* or start the script with torchrun"):
        launch(SPAWNED, work, "good", lambda: None)


def test_a_class_that_the_processes_cannot_import_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("distill.nowhere")
    module.NotImportable = NotImportable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distill.nowhere", module)
    with pytest.raises(UserError, match="cannot import an argument"):
        launch(SPAWNED, work, "good", NotImportable())


def test_a_signal_is_passed_on(tmp_path: Path) -> None:
    def end_when_both_work() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    watcher = threading.Thread(target=end_when_both_work)
    watcher.start()
    with pytest.raises(SystemExit) as caught:
        launch(TWO, work, "waits", tmp_path)
    watcher.join()
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_script_that_is_not_a_file_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/nowhere/<stdin>")
    with pytest.raises(UserError, match=r"<stdin> is not a file; save it in a file, or use .* ddp_fork"):
        launch(SPAWNED, work, "good", tmp_path)


def test_a_script_without_a_guard_gets_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom distill.data.errors import UserError\nfrom distill.run.launcher import launch\n"
        "from distill.training.engine import Engine\n"
        "try:\n    launch(Engine(accelerator='cpu', devices=2), print, 'worked')\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip().endswith("put its commands below `if __name__ == '__main__':`")
    assert ran.stdout.count("\n") == 1
    assert "Traceback" not in ran.stderr
