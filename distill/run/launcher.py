"""The start of a command on several devices of this machine: this process waits, and a child works for each device."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from types import FrameType
from typing import Any

from distill.data.errors import UserError, exit_code_of, first_line
from distill.training.engine import STARTS, Engine
from distill.training.joining import tcp_store
from distill.training.launched import OWN_RUN, launched

_UNGUARDED = 93  # exit code of a child that ran an unguarded script
_GRACE, _TERMINATION = 3.0, 10.0  # seconds until the others are terminated, and until they are killed
_ERROR = "error of a child"  # key in the store
_STORE_SECONDS = 60.0


def starts_processes(engine: Engine, option: str = "--engine.devices") -> bool:
    """Return whether a command must be launched: it has several devices, and no launcher has started this process.

    Args:
        engine: Options of the devices.
        option: Name of the command's option of the number of devices, for messages.

    Raises:
        UserError: there are not so many devices, or several machines need a launcher.
    """
    if launched() is not None:
        return False
    if engine.num_nodes > 1:
        words = " ".join(["distill", *sys.argv[1:]]) if sys.argv[1:2] in (["fit"], ["embed"]) else "distill fit ..."
        raise UserError(
            f"--engine.num_nodes {engine.num_nodes}: a launcher starts the processes of several machines; on each type "
            f"torchrun --nnodes {engine.num_nodes} --nproc_per_node {engine.devices} --rdzv_backend c10d "
            f"--rdzv_endpoint FIRST_MACHINE:29500 -m {words}, or in a SLURM job srun {words}"
        )
    if engine.num_nodes < 1:
        raise UserError(f"--engine.num_nodes {engine.num_nodes}: must be at least 1")
    if engine.devices < 1:
        raise UserError(f"{option} {engine.devices}: must be at least 1")
    if engine.devices > 1:
        check_devices(engine, option)
    return engine.devices > 1


def check_devices(engine: Engine, option: str) -> None:
    """Raise UserError if this machine has fewer devices than the options ask for. CPUs take any number of processes."""
    import torch

    if engine.accelerator == "cpu":
        return
    count = torch.cuda.device_count()
    if count and engine.devices > count:
        raise UserError(f"{option} {engine.devices}: this machine has {count} GPU(s)")
    if not count and engine.accelerator != "auto":
        raise UserError(f"{option} {engine.devices}: there is no GPU")
    if not count and torch.backends.mps.is_available():
        raise UserError(f"{option} {engine.devices}: Apple's GPU is one device; choose the CPU")


def launch(engine: Engine, function: Callable[..., object], *arguments: Any) -> None:
    """Run a function in a process for each device, and wait for all.

    The first process that ends badly ends the others. Signals are passed on.

    Args:
        engine: Options of the devices.
        function: Function at the top of a module.
        arguments: Its arguments, which are pickled unless the processes are forked.

    Raises:
        UserError: an argument cannot be pickled, or a process was killed. Other errors of a process are raised too.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_UNGUARDED)  # a child imports the script of its parent, which calls this function
    forks = STARTS.get(engine.strategy) == "fork"
    work = (function, arguments, None) if forks else _pickled(function, arguments)
    context = _forking() if forks else multiprocessing.get_context("spawn")
    store = _store()
    children: list[Any] = []
    with _signals_passed_to(children) as signals:
        try:
            for rank in range(engine.devices):
                child = context.Process(target=_work, args=(work,), name=f"distill-{rank}")
                children.append(child)
                with _environment(_variables(rank, engine.devices, store.port)):
                    child.start()
            failed = _wait(children)
        finally:
            _end(children)
    if failed is not None:
        raise _error(failed, children[failed], store, signals)


def _forking() -> Any:
    """Return the context of forked processes. Raises UserError if this process cannot fork."""
    import torch

    if "fork" not in multiprocessing.get_all_start_methods():
        raise UserError("--engine.strategy ddp_fork: this system has no fork; use ddp_spawn")
    if torch.cuda.is_initialized():
        raise UserError("--engine.strategy ddp_fork: this process has used the GPU already; use ddp_spawn")
    return multiprocessing.get_context("fork")


def _store() -> Any:
    """Return a store that this process serves, through which the children meet."""
    return tcp_store("127.0.0.1", 0, _STORE_SECONDS, serves=True)


def _variables(rank: int, size: int, port: int) -> dict[str, str]:
    """Return the environment of a child: torchrun's variables."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": f"{OWN_RUN}{os.getpid()}",
        "TORCHELASTIC_USE_AGENT_STORE": True,
        # Each process may use its share of the cores. The run itself explains what a connection lost.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, cores // size)),
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "FATAL"),
    }
    if "GLOO_SOCKET_IFNAME" not in os.environ and "lo" in [name for _, name in socket.if_nameindex()]:
        variables["GLOO_SOCKET_IFNAME"] = "lo"  # a host name that cannot be resolved must not stop the run
    return {name: str(value) for name, value in variables.items()}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Return a context with environment variables, which a child that is started in it keeps."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _pickled(function: Callable[..., object], arguments: Sequence[Any]) -> bytes:
    """Return function, arguments and the printer of warnings as bytes.

    Raises:
        UserError: they cannot be pickled, or a child could not import the script of this process.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not os.path.exists(script):
        raise UserError(
            f"several devices need several processes, and each imports the script, but {script} is not a file; save it "
            "in a file, or use --engine.strategy ddp_fork"
        )
    try:
        pickle.dumps(warnings.showwarning)
        show = warnings.showwarning
    except (pickle.PicklingError, AttributeError):
        show = None
    try:
        return pickle.dumps((function, arguments, show))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"several devices need several processes, and an argument cannot be sent to them ({error}); "
            "name teacher and student by registered name or import path, or start the script with torchrun"
        ) from error


Work = tuple[Callable[..., object], Sequence[Any], Callable[..., None] | None]


def _work(work: bytes | Work) -> None:
    """Run a function in a child. The child ends with its parent, and reports its error to it."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C then reaches the parent only, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        function, arguments, show = _unpickled(work) if isinstance(work, bytes) else work
        warnings.showwarning = show or warnings.showwarning
        _prepare(forked=not isinstance(work, bytes))
        function(*arguments)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if not getattr(error, "is_silent", False):
            _report(error)
        if isinstance(error, UserError | OSError):
            raise SystemExit(exit_code_of(error)) from None
        raise


def _prepare(forked: bool) -> None:
    """Let the system end this child with its parent, and let torch use no threads of the parent after a fork."""
    import torch

    if sys.platform == "linux":
        from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

        _prctl_pr_set_pdeathsig(signal.SIGTERM)
    if forked:
        torch.set_num_threads(1)


def _unpickled(work: bytes) -> Work:
    """Return what `_pickled` took. Raises UserError if an argument cannot be imported here."""
    try:
        return pickle.loads(work)
    except (AttributeError, ImportError) as error:
        raise UserError(
            f"several devices need several processes, which cannot import an argument ({error}); define its class in a "
            "module, not in a notebook, or use --engine.strategy ddp_fork"
        ) from error


def _report(error: Exception) -> None:
    """Send an error to the parent if it lives, unless another process has sent one."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        return
    rank = os.environ["RANK"]
    try:
        sent = pickle.dumps((int(rank), error))
        pickle.loads(sent)
    except Exception:  # an error of a library may be impossible to pickle or to build again
        sent = pickle.dumps((int(rank), UserError(f"{type(error).__name__}: {first_line(error)}")))
    with suppress(RuntimeError):  # the parent has ended
        _connection().compare_set(_ERROR, "", sent.hex())


def _connection() -> Any:
    """Return a connection of a child to the store of its parent."""
    return tcp_store(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), _STORE_SECONDS)


@contextmanager
def _signals_passed_to(children: Sequence[Any]) -> Iterator[list[int]]:
    """Return a context that passes SIGINT and SIGTERM on to the children. It lists the signals."""
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for child in children:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield received
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: Sequence[Any]) -> int | None:
    """Wait for the children. Return the number of the first that ended badly, soon after; None if all ended well."""
    running = {child.sentinel: rank for rank, child in enumerate(children)}
    failed, until = None, None
    while running and (until is None or time.monotonic() < until):
        for sentinel in connection.wait(running, None if until is None else max(0.0, until - time.monotonic())):
            rank = running.pop(sentinel)
            children[rank].join()
            if children[rank].exitcode and failed is None:
                failed, until = rank, time.monotonic() + _GRACE  # the others may end by themselves
    return failed


def _end(children: Sequence[Any]) -> None:
    """Terminate the children that still run. Kill them if they do not end."""
    running = [child for child in children if child.pid is not None and child.is_alive()]
    for child in running:
        child.terminate()
    until = time.monotonic() + _TERMINATION
    for child in running:
        child.join(max(0.0, until - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()


def _error(rank: int, child: Any, store: Any, signals: Sequence[int]) -> BaseException:
    """Return the error to raise after a child has ended badly.

    Args:
        rank: Number of the child.
        child: The process.
        store: Store with the error that a child reported.
        signals: Signals that this process passed on.
    """
    code = child.exitcode
    if code == _UNGUARDED:
        return UserError(
            "several devices need several processes, and each imports the script; put its commands below "
            "`if __name__ == '__main__':`"
        )
    if code < 0 and -code not in signals:
        return UserError(
            f"rank {rank} (process {child.pid}) was killed by {signal.Signals(-code).name}, perhaps for lack of "
            "memory; all processes were ended, and --resume continues the run"
        )
    if store.check([_ERROR]):
        sender, error = pickle.loads(bytes.fromhex(store.get(_ERROR).decode()))
        return error if isinstance(error, UserError | OSError) else _crash(sender, error)
    if signals:
        return KeyboardInterrupt() if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    return UserError(f"rank {rank} (process {child.pid}) ended with exit code {code}; --resume continues the run")


def _crash(rank: int, error: BaseException) -> UserError:
    """Return the error of a child that failed in an unexpected way and has printed its traceback."""
    failure = UserError(f"rank {rank}: {type(error).__name__}: {first_line(error)} (its traceback is above)")
    failure.exit_code = 1
    return failure
