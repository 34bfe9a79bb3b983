"""`distill embed` in several processes, by each launcher, and in parts."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.data.store.reader import EmbeddingStore
from tests.distill.commands.test_fit_devices import PYTHON, RUN, ended, processes, slow, started
from tests.distill.run.test_continued_stores import content
from tests.distill.training.test_joining import free_port, variables

CLIPS = 70  # in three shards


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [
        "-m",
        "distill",
        "embed",
        "--teacher=spectral",
        f"--data={data}",
        f"--out={out}",
        "--device=cpu",
        "--dtype=float32",
        *more,
    ]


@pytest.mark.parametrize("launcher", ["devices", slow("torchrun"), slow("srun")])
def test_several_processes_write_the_store_of_one(launcher: str, sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, port = sounds(CLIPS, seconds=0.1), free_port()
    ended(started([*PYTHON, *words(data, tmp_path / "one")]))
    torchrun = [*RUN, "--nproc_per_node=2", "--master_port", str(port)]
    command = words(data, tmp_path / "two")
    if launcher == "devices":
        commands = [started([*PYTHON, *command, "--devices=2"])]
    elif launcher == "torchrun":
        commands = [started([*torchrun, *command])]
    else:
        commands = [started([*PYTHON, *command], variables(rank, 2, port)) for rank in range(2)]
    printed = ended(*commands)
    assert printed.count(f"{CLIPS} embeddings of 280 numbers in {tmp_path / 'two'}") == 1
    one, two = (EmbeddingStore(tmp_path / name) for name in ("one", "two"))
    assert (two.ids, two.fingerprint, two.shard_count) == (one.ids, one.fingerprint, one.shard_count)
    np.testing.assert_allclose(two.read_all(), one.read_all(), atol=1e-6)


def test_parts_are_embedded_one_by_one(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(CLIPS, seconds=0.1))
    distill.embed(data, str(tmp_path / "one"), "spectral", workers=0, device="cpu")
    (Path(data) / "class0" / "broken.wav").write_bytes(b"no sound")
    distill.embed(data, str(tmp_path / "one"), "spectral", workers=0, device="cpu")
    capsys.readouterr()
    for part, line in ((2, "2 parts are not complete yet: 0/3, 1/3"), (0, "1/3"), (1, f"{CLIPS} embeddings")):
        store = distill.embed(data, str(tmp_path / "s"), "spectral", workers=0, device="cpu", shard=f"{part}/3")
        assert line in capsys.readouterr().out.splitlines()[-1 if part != 1 else -2]
    assert len(store) == CLIPS
    assert (tmp_path / "s" / "set_aside.csv").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_signal_ends_all_and_keeps_what_is_done(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, out = sounds(600, seconds=0.1), tmp_path / "s"
    distill.embed(str(data), str(tmp_path / "one"), "spectral", workers=0, device="cpu")
    command = started([*PYTHON, *words(data, out, "--devices=2", "--batch_size=1")])
    while len(list(out.glob("*.json"))) < 3:  # the plan and two shards
        assert command.poll() is None, command.communicate()[0]
    assert len(processes(command.pid)) == 2
    command.send_signal(signal.SIGTERM)
    printed = command.communicate(timeout=60)[0]
    assert command.returncode == 128 + signal.SIGTERM
    assert printed.count("distill: error: stopped after ") == printed.count("error:") == 1
    store = distill.embed(str(data), str(out), "spectral", workers=0, device="cpu", dtype="float32")
    assert store.missing_shards == []
    assert set(content(out)) == set(content(tmp_path / "one"))
