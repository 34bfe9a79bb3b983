"""What a launcher says, by its environment variables alone."""

from __future__ import annotations

import pytest

from distill.data.errors import UserError
from distill.training.engine import Engine
from distill.training.launched import check_agrees, first_node, launched

TORCH = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NNODES": "2",
    "SLURM_JOB_ID": "1234567",
    "SLURM_NODELIST": "gpu[07-08]",
    "SLURM_JOB_NAME": "train",
}


@pytest.mark.parametrize(
    ("environment", "address", "port", "launcher", "has_store"),
    [
        (TORCH, "10.0.0.1", 29500, "torchrun", True),
        (TORCH | SLURM, "10.0.0.1", 29500, "torchrun", True),
        (TORCH | {"TORCHELASTIC_RUN_ID": "distill-77"}, "10.0.0.1", 29500, "distill", True),
        (TORCH | {"TORCHELASTIC_USE_AGENT_STORE": ""}, "10.0.0.1", 29500, "torchrun", False),
        (SLURM, "gpu07", 15_000 + 4567, "srun", False),
        (SLURM | {"MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "7"}, "10.0.0.9", 7, "srun", False),
        (SLURM | {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}, "gpu07", 15_000 + 4567, "srun", False),
    ],
)
def test_a_launcher_is_recognised(
    environment: dict[str, str], address: str, port: int, launcher: str, has_store: bool
) -> None:
    found = launched(environment)
    assert found is not None
    assert (found.rank, found.size, found.local_rank, found.local_size, found.nodes) == (3, 4, 1, 2, 2)
    assert (found.address, found.port, found.launcher, found.has_store) == (address, port, launcher, has_store)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        TORCH | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
        {name: value for name, value in TORCH.items() if name != "LOCAL_RANK"},
        SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        SLURM | {"SLURM_JOB_NAME": "bash"},
        SLURM | {"SLURM_JOB_NAME": "interactive"},
        {"SLURM_NTASKS": "4"},
    ],
)
def test_without_a_launcher_the_process_is_alone(environment: dict[str, str]) -> None:
    assert launched(environment) is None


def test_tasks_of_one_machine_meet_there() -> None:
    found = launched(SLURM | {"SLURM_NNODES": "1"})
    assert found is not None
    assert (found.address, found.local_size) == ("127.0.0.1", 4)


def test_two_steps_of_a_job_do_not_share_a_port() -> None:
    ports = {launched(SLURM | {"SLURM_STEP_ID": step}).port for step in ("0", "1")}  # type: ignore[union-attr]
    assert len(ports) == 2


def test_machines_with_different_numbers_of_processes_are_refused() -> None:
    with pytest.raises(UserError, match="same number of processes on each machine"):
        launched(SLURM | {"SLURM_NTASKS": "5"})


@pytest.mark.parametrize(
    ("devices", "nodes", "resumes", "is_refused"),
    [(1, 1, False, False), (2, 2, False, False), (4, 1, False, True), (2, 1, False, True), (4, 1, True, False)],
)
def test_options_must_agree_with_the_launcher(devices: int, nodes: int, resumes: bool, is_refused: bool) -> None:
    found = launched(TORCH)
    assert found is not None
    engine = Engine(devices=devices, num_nodes=nodes)
    if is_refused:
        with pytest.raises(UserError, match=f"2 x 2 processes.*--engine.devices {devices} ask for {nodes} x {devices}"):
            check_agrees(engine, found, resumes)
    else:
        check_agrees(engine, found, resumes)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("node5", "node5"),
        ("a,b", "a"),
        ("gpu[03-07,9],login", "gpu03"),
        ("gpu[5]", "gpu5"),
        ("gpu[1,3]-ib,x", "gpu1-ib"),
    ],
)
def test_the_first_machine_of_a_list(names: str, first: str) -> None:
    assert first_node(names) == first
