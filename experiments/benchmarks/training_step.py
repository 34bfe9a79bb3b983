"""Measure a training step of `distill fit`, from Python and from the command line, against a plain loop of PyTorch."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from measure import ROOT, Row, several_in_turns, table, write_section
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from workers import DEFAULT_MALLOC

import distill
from distill.data.clips.sources import read_manifest
from distill.data.store.writer import StoreWriter

CLIPS, SECONDS, FILE_RATE, RATE, DIM, BATCH = 160, 10, 44_100, 32_000, 768, 8
STEPS, UNMEASURED = 8, 2
GOAL = 1.3
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}  # waiting is not CPU time


class Clips(Dataset[tuple[Tensor, Tensor]]):
    """Load, resample, pad, mel and npz of one clip in `__getitem__`, as S-SONDO does (commit f89abf2, transcribed)."""

    def __init__(self, folder: Path) -> None:
        self.paths, self.embeddings = sorted((folder / "audio").iterdir()), folder / "npz"
        self.resample = torchaudio.transforms.Resample(FILE_RATE, RATE)
        self.mel = torchaudio.transforms.MelSpectrogram(
            RATE, n_fft=1024, win_length=1024, hop_length=512, center=False, n_mels=128, f_min=50, f_max=RATE / 2,
            mel_scale="slaney", norm="slaney", power=2.0,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        samples, _ = soundfile.read(self.paths[index], dtype="float32", always_2d=True)
        waveform = self.resample(torch.from_numpy(samples.T).mean(0, keepdim=True))[:, : SECONDS * RATE]
        waveform = F.pad(waveform, (0, SECONDS * RATE - waveform.shape[1]))
        embedding = np.load(self.embeddings / f"{self.paths[index].stem}.npz")["embed"]
        return (self.mel(waveform) + 0.001).log()[0], torch.from_numpy(embedding)


def plain_loop(folder: Path) -> None:
    """Train the same network to the same targets, and print the CPU seconds of a step."""
    network = distill.create_student("mobilenet_v3").train()
    projector = nn.Linear(network.clip_dim, DIM)
    optimizer = torch.optim.AdamW([*network.parameters(), *projector.parameters()], 1e-3)
    ends: list[float] = []
    for mel, target in DataLoader(Clips(folder), BATCH, shuffle=True, num_workers=2, drop_last=True):
        clip = network.encode_mel(mel)[0].mean(1)
        loss = (1 - F.cosine_similarity(projector(clip), target)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        ends.append(cpu_of_all())
        if len(ends) == STEPS:
            print_step(ends)


def cpu_of_all() -> float:
    """Return the CPU seconds of this process and of the processes that decode for it."""
    ticks = 0
    for process in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(times[11]) + int(times[12])  # user and system
    return ticks / os.sysconf("SC_CLK_TCK")


def print_step(ends: Sequence[float]) -> None:
    """Print the mean CPU seconds from one end of a step to the next, and end the process at once."""
    print("SECONDS", (ends[-1] - ends[UNMEASURED - 1]) / (STEPS - UNMEASURED), flush=True)
    os._exit(0)


def run_fit(kind: str, folder: Path) -> None:
    """Train by `distill.fit` or by the command, and print the CPU seconds of a step, by the progress bar."""
    import tqdm

    ends: list[float] = []

    def update(bar: tqdm.tqdm, count: int = 1) -> None:
        if (bar.desc or "").startswith("fit"):
            ends.append(cpu_of_all())
            if len(ends) == STEPS:
                print_step(ends)

    tqdm.tqdm.update = update
    store, data, out = str(folder / "store"), str(folder / "audio"), str(folder / f"run{os.getpid()}")
    if kind == "python":
        distill.fit(
            teacher={"class_path": "precomputed", "init_args": {"store": store}}, student="mobilenet_v3", data=data,
            out=out, max_steps=CLIPS // BATCH, batch_size=BATCH, validation=0.0, engine={"accelerator": "cpu"},
        )  # fmt: skip
    from distill.cli.shell import main as command

    words = f"fit --teacher precomputed --teacher.store {store} --student mobilenet_v3 --data {data} --out {out}"
    words += f" --max_steps {CLIPS // BATCH} --batch_size {BATCH} --validation 0 --engine.accelerator cpu"
    sys.argv[1:] = words.split()
    command()


def make_data(folder: Path) -> None:
    """Write noise as WAV, and random embeddings as a store and as files."""
    random = np.random.default_rng(0)
    (folder / "audio").mkdir()
    (folder / "npz").mkdir()
    vectors = random.standard_normal((CLIPS, DIM)).astype(np.float32)
    for number, vector in enumerate(vectors):
        samples = random.standard_normal(SECONDS * FILE_RATE) * 0.1
        soundfile.write(folder / "audio" / f"{number:04d}.wav", samples, FILE_RATE, subtype="PCM_16")
        np.savez(folder / "npz" / f"{number:04d}.npz", embed=vector)
    ids = [row.id for row in read_manifest(folder / "audio").rows]
    writer = StoreWriter(folder / "store", ids, DIM, {"sample_rate": RATE})
    by_id = dict(zip(ids, vectors, strict=True))
    for shard in writer.missing_shards():
        writer.write(shard, by_id)


def step_seconds(kind: str, folder: Path) -> float:
    """Return the CPU seconds of a step in a new process."""
    environment = {**os.environ, **PASSIVE, **(DEFAULT_MALLOC if kind == "plain" else {})}
    command = [sys.executable, __file__, kind, str(folder)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    return float(ended.stdout.rpartition("SECONDS")[2])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder)
        case = (
            f"CPU time of a step of `mobilenet_v3`, width 1, {BATCH} clips of {SECONDS} s, {FILE_RATE / 1000:g} kHz WAV"
        )
        words = {"python": "by `distill.fit`", "command": "by `distill fit`"}
        measured, rival = several_in_turns([*words], "plain", measure=lambda kind: step_seconds(kind, folder))
    rows = [
        Row(f"{case}, {how}", ours, rival, GOAL, "plain loop of PyTorch", ratio)
        for how, (ours, ratio) in zip(words.values(), measured, strict=True)
    ]
    note = [
        "The plain loop loads, resamples and transforms clip by clip in two processes, as S-SONDO trains it, with",
        "glibc's own settings of memory. CPU time is that of all processes. A measurement is the mean of",
        f"{STEPS - UNMEASURED} steps of a new process.",
    ]
    write_section("Training step", [*table(rows), "", *note], "training_step")


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    plain_loop(folder) if kind == "plain" else run_fit(kind, folder)
