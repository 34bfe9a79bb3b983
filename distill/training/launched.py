"""What a launcher (torchrun, srun, or this package) tells a process about the processes of its run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from distill.data.errors import UserError
from distill.training.engine import Engine

OWN_RUN = "distill-"
"""Start of TORCHELASTIC_RUN_ID in the processes that this package started itself."""

_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which a person types commands, as in Lightning
_FIRST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Launched:
    """The place of a process among those that a launcher started.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine, from 0. It is also the number of its device.
        local_size: Number of processes on each machine.
        address: Address of the machine of rank 0.
        port: Port of the store through which the processes meet.
        launcher: Name of the launcher, for messages.
        has_store: Whether the launcher serves the store. Otherwise rank 0 serves it.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    launcher: str
    has_store: bool

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size

    @property
    def is_own(self) -> bool:
        """Whether this package started the process; then the parent process prints its errors."""
        return self.launcher == "distill"


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return what the launcher says. None: the process is alone.

    Args:
        environment: Environment variables.

    Raises:
        UserError: the machines have different numbers of processes.
    """
    found = _by_torch(environment) if all(environment.get(name) for name in _TORCH) else _by_slurm(environment)
    if found is None or found.size == 1:
        return None
    if found.size % found.local_size:
        raise UserError(
            f"{found.launcher} started {found.size} processes, but {found.local_size} on this machine: "
            "start the same number of processes on each machine"
        )
    return found


def check_agrees(engine: Engine, found: Launched, resumes: bool) -> None:
    """Raise UserError if the options of the devices contradict the launcher. Options at their defaults follow it.

    Args:
        engine: Options of the run.
        found: What the launcher says.
        resumes: Whether the run goes on. It may have had another number of processes.
    """
    asked, started = (engine.devices, engine.num_nodes), (found.local_size, found.nodes)
    if not resumes and asked not in ((1, 1), started):
        raise UserError(
            f"{found.launcher} started {found.nodes} x {found.local_size} processes (machines x devices), but "
            f"--engine.num_nodes {engine.num_nodes} --engine.devices {engine.devices} ask for "
            f"{engine.num_nodes} x {engine.devices}; omit these options or change the launcher's"
        )


def _by_torch(environment: Mapping[str, str]) -> Launched:
    """Read the variables of torchrun, which this package sets too."""
    rank, size, local_rank = (int(environment[name]) for name in _TORCH[:3])
    is_own = environment.get("TORCHELASTIC_RUN_ID", "").startswith(OWN_RUN)
    return Launched(
        rank,
        size,
        local_rank,
        int(environment.get("LOCAL_WORLD_SIZE") or size),
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        "distill" if is_own else "torchrun",
        environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _by_slurm(environment: Mapping[str, str]) -> Launched | None:
    """Read the variables of srun. None: there are none, or a person types commands in the job."""
    if "SLURM_NTASKS" not in environment or environment.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return None
    if "SLURM_PROCID" not in environment or "SLURM_LOCALID" not in environment:
        return None
    size = int(environment.get("SLURM_STEP_NUM_TASKS") or environment["SLURM_NTASKS"])
    nodes = int(environment.get("SLURM_STEP_NUM_NODES") or environment.get("SLURM_NNODES") or 1)
    job, step = (int(environment.get(name) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    names = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST") or ""
    return Launched(
        int(environment["SLURM_PROCID"]),
        size,
        int(environment["SLURM_LOCALID"]),
        -(-size // nodes),
        environment.get("MASTER_ADDR") or (first_node(names) if nodes > 1 else "127.0.0.1"),
        int(environment.get("MASTER_PORT") or _FIRST_PORT + (job + step) % _PORTS),
        "srun",
        False,
    )


def first_node(names: str) -> str:
    """Return the first name of a SLURM list of machines, such as "gpu[03-07,9],login"."""
    return re.sub(r"^([^,\[]*)\[([^\]\-,]+)[^\]]*\](.*)$", r"\1\2\3", names).split(",")[0].split(" ")[0]
