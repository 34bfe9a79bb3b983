from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        is_own_server = isinstance(address, tuple) and address[0] == "127.0.0.1"
        if self.family != socket.AF_UNIX and not is_own_server:
            raise OSError("tests have no network")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def golden() -> Path:
    return GOLDEN


def tone(frequency: float, seconds: float = 1.0, sample_rate: int = 16_000, seed: int = 0) -> NDArray[np.float32]:
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * frequency * time) + 0.02 * noise).astype(np.float32)


@pytest.fixture
def sounds(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of tones, a sub-folder for each class; lengths differ a little."""

    def make(clips: int = 12, classes: int = 2, seconds: float = 0.5, name: str = "sounds") -> Path:
        folder = tmp_path / name
        for index in range(clips):
            label = folder / f"class{index % classes}"
            label.mkdir(parents=True, exist_ok=True)
            frequency = 300.0 * (1 + index % classes) + 10 * index
            samples = tone(frequency, seconds + 0.02 * (index % 3), seed=index)
            soundfile.write(label / f"{index:03d}.wav", samples, 16_000)
        return folder

    return make
