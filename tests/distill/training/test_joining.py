"""How processes meet, and what they say when one of them fails: with real processes and torch's store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from distill.data.errors import UserError
from distill.training.engine import Engine
from distill.training.joining import is_broken_connection, joined, meet, tcp_store
from distill.training.launched import Launched

SCRIPT = """
import os, signal, sys, time
from distill.data.errors import UserError
from distill.training.engine import Engine
from distill.training.joining import joined

def fail(message):
    raise UserError(message)

try:
    with joined(Engine()) as world:
        print("printed by", world.rank, world.sum(__import__("torch").tensor([world.rank])).tolist())
        {action}
except UserError as error:
    if not error.is_silent:
        print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """The environment of a task that srun started on one machine."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))},
        "SLURM_NTASKS": str(size),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NNODES": "1",
        "SLURM_JOB_ID": "7",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "FATAL",
    }


def start(action: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    script = SCRIPT.format(action=action)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=pipe, stderr=pipe, text=True)


def run(action: str, size: int = 2) -> tuple[list[int], str, str]:
    """Run an action on each rank. Return exit codes, and all that was printed to stdout and to stderr."""
    port = free_port()
    ranks = [start(action, variables(rank, size, port)) for rank in range(size)]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    return [rank.returncode for rank in ranks], *("".join(texts) for texts in zip(*outputs, strict=True))


@pytest.mark.parametrize(
    ("action", "code", "line"),
    [
        pytest.param("pass", 0, "", marks=pytest.mark.slow),
        ("world.rank == 1 and fail('no such file')", 2, "rank 1: no such file"),
        pytest.param("world.rank == 0 and fail('no such file')", 2, "no such file", marks=pytest.mark.slow),
        ("world.each(lambda: fail('no such file'))", 2, "no such file"),
    ],
)
def test_one_process_prints_and_an_error_is_printed_once(action: str, code: int, line: str) -> None:
    codes, output, errors = run(action)
    assert codes == [code, code]
    assert output == "printed by 0 [1]\n"
    assert errors.count("\n") == bool(line)
    assert errors.startswith(line)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_with_its_name() -> None:
    began = time.monotonic()
    codes, _, errors = run("world.rank == 1 and os.kill(os.getpid(), signal.SIGKILL)", 3)
    assert codes == [2, -signal.SIGKILL, 2]
    assert errors.startswith("rank 1 was lost: no sign of life for")
    assert errors.count("\n") == 1
    assert time.monotonic() - began < 60


def launched(rank: int, port: int, size: int = 2) -> Launched:
    return Launched(rank, size, rank, size, "127.0.0.1", port, "srun", False)


def test_a_process_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.training.joining._server", None)
    with pytest.raises(UserError, match=r"the ranks 1, 2 of 3 did not come within 0\.5 s, as seen from rank 0 on"):
        meet(launched(0, free_port(), 3), seconds=0.5)


def test_a_first_process_that_does_not_come_is_named() -> None:
    with pytest.raises(UserError, match=r"rank 0 did not answer at 127\.0\.0\.1:\d+ within 1 s, so rank 1 on"):
        meet(launched(1, free_port()), seconds=1)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.training.joining._server", None)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"the port {port} of 127\.0\.0\.1 cannot be used.*MASTER_PORT"):
            meet(launched(0, port), seconds=1)


def test_a_store_is_shared_by_its_clients() -> None:
    server = tcp_store("127.0.0.1", 0, 5, serves=True)
    tcp_store("127.0.0.1", server.port, 5).set("key", "value")
    assert server.get("key") == b"value"


@pytest.mark.parametrize(
    ("error", "is_broken"),
    [
        (RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"), True),
        (RuntimeError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
        (UserError("a connection"), False),
    ],
)
def test_errors_of_a_connection_are_told_from_others(error: Exception, is_broken: bool) -> None:
    assert is_broken_connection(error) is is_broken


def test_without_a_launcher_the_process_is_alone_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with joined(Engine()) as world:
        print("here")
    assert world.size == 1
    assert capsys.readouterr().out == "here\n"
