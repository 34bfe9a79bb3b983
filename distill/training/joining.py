"""How the processes of a run meet and part."""

from __future__ import annotations

import atexit
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from typing import Any

from distill.data.errors import UserError, exit_code_of, first_line
from distill.training.engine import Engine
from distill.training.launched import Launched, check_agrees, launched
from distill.training.watch import Lost, Watch, life_key, line_of
from distill.training.world import World

SECONDS_TO_COME = 600.0
"""Time in which all processes of a run must have started."""

_NEVER = timedelta(days=365)  # rank 0 may work for hours while the others wait; the watch notices a lost process
_runs = 0  # of this process; each has keys of its own in the store
_server: Any = None  # the store that this process serves, for all runs


@contextmanager
def joined(engine: Engine, resumes: bool = False) -> Iterator[World]:
    """Return the context of a run of all processes that a launcher started. Without a launcher, there is only this one.

    Only rank 0 prints. The first error of a process ends the others.

    Args:
        engine: Options of the devices.
        resumes: Whether the run goes on. It may have had another number of processes.

    Raises:
        UserError: the options contradict the launcher, or a process did not come.
        Lost: another process has ended in the middle of the run.
    """
    found = launched()
    if found is None:
        yield World()
        return
    check_agrees(engine, found, resumes)
    world, watch = meet(found)
    try:
        with _silence(world):
            yield world
        world.barrier()
    except BaseException as error:
        _settle(error, world, watch, found.is_own)
        raise
    finally:
        watch.stop()


def meet(found: Launched, seconds: float = SECONDS_TO_COME) -> tuple[World, Watch]:
    """Wait for the other processes of the run, and connect to them.

    Args:
        found: What the launcher says.
        seconds: Time in which all must come.

    Returns:
        The processes, and a watch over them that has started.

    Raises:
        UserError: a process did not come, or the port is in use.
    """
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    global _runs
    _runs += 1
    prefix = f"distill/{_runs}/"
    store = _server_of(found) or _client(found, seconds)
    keys = PrefixStore(prefix, _client(found, seconds))
    world = World(found.rank, found.size, found.local_rank, found.nodes, _hosts(keys, found, seconds))
    names = [world.name(rank) for rank in range(world.size)]
    watch = Watch(keys, found.rank, names, is_server=_server is not None)
    watch.start()
    if torch.cuda.is_available():
        torch.cuda.set_device(found.local_rank % torch.cuda.device_count())
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group = PrefixStore(f"{prefix}group", store)
        distributed.init_process_group(backend, store=group, rank=found.rank, world_size=found.size, timeout=_NEVER)
        atexit.register(_leave)
    return world, watch


def _server_of(found: Launched) -> Any:
    """Return the store that this process serves, as rank 0 of a launcher that serves none. None: it serves none."""
    global _server
    if _server is None and found.rank == 0 and not found.has_store:
        try:
            _server = tcp_store(found.address, found.port, SECONDS_TO_COME, serves=True)
        except RuntimeError as error:
            raise UserError(
                f"the port {found.port} of {found.address} cannot be used ({first_line(error)}); "
                "set MASTER_PORT to another number for all processes"
            ) from error
    return _server


def _client(found: Launched, seconds: float) -> Any:
    """Return a new connection to the store of the run."""
    try:
        return tcp_store(found.address, found.port, seconds)
    except RuntimeError as error:
        server = "the launcher" if found.has_store else "rank 0"
        raise UserError(
            f"{server} did not answer at {found.address}:{found.port} within {seconds:g} s, so rank {found.rank} on "
            f"{socket.gethostname()} cannot start"
        ) from error


def tcp_store(address: str, port: int, seconds: float, serves: bool = False) -> Any:
    """Return a connection to a store, torch's TCPStore.

    Args:
        address: Machine of the store.
        port: Port of the store. 0, if it is served here: a free one.
        seconds: Time to wait for an answer.
        serves: Whether this process serves the store.

    Raises:
        RuntimeError: the store does not answer, or the port is in use.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(address, port, is_master=serves, wait_for_workers=False, timeout=timedelta(seconds=seconds))


def _hosts(keys: Any, found: Launched, seconds: float) -> list[str]:
    """Wait until all processes have come, and return the names of their machines."""
    keys.set(life_key(found.rank), "0")
    keys.set(f"host/{found.rank}", socket.gethostname())
    names = [f"host/{rank}" for rank in range(found.size)]
    try:
        keys.wait(names, timedelta(seconds=seconds))
    except RuntimeError as error:
        missing = [str(rank) for rank, name in enumerate(names) if not keys.check([name])]
        ranks = f"rank {missing[0]}" if len(missing) == 1 else f"the ranks {', '.join(missing)}"
        missed = UserError(
            f"{ranks} of {found.size} did not come within {seconds:g} s, as seen from rank {found.rank} on "
            f"{socket.gethostname()}; are all machines started with the same command?"
        )
        missed.is_silent = keys.compare_set("missed", "", str(found.rank)) != str(found.rank).encode()
        raise missed from error
    return [name.decode() for name in keys.multi_get(names)]


def _settle(error: BaseException, world: World, watch: Watch, is_own: bool) -> None:
    """Tell an error to the other processes, and decide which process prints it.

    Raises:
        Lost: the error is that of a broken connection.
    """
    if is_broken_connection(error):
        told = watch.find()
        lost = Lost(told.message)
        lost.exit_code = told.exit_code
        lost.is_silent = told.rank != world.rank or not watch.tell(told.message, told.exit_code)
        raise lost from error
    if getattr(error, "is_silent", False):
        watch.hear()
        return
    name = "" if world.is_first else f"{world.name(world.rank)}: "
    is_printed = watch.tell(name + line_of(error), exit_code_of(error))
    if isinstance(error, UserError):
        error.args = (name + str(error),)
    error.is_silent = not is_printed  # type: ignore[attr-defined]


def is_broken_connection(error: BaseException) -> bool:
    """Return whether an error is that of a connection to another process."""
    from torch import distributed

    if isinstance(error, Lost) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error)


@contextmanager
def _silence(world: World) -> Iterator[None]:
    """Return a context in which all processes but rank 0 print nothing."""
    if world.is_first:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _leave() -> None:
    """Leave the group at the end of the process, as NCCL warns otherwise."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
