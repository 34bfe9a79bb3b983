"""Time a training step of `distill fit`, from Python and from the command line, against a plain loop of PyTorch."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from measure import ROOT, Row, in_turns, table, write_section
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from workers import DEFAULT_MALLOC

import distill
from distill.data.clips.sources import read_manifest
from distill.data.store.writer import StoreWriter

CLIPS, SECONDS, FILE_RATE, RATE, DIM, BATCH = 64, 10, 44_100, 32_000, 768, 8
STEPS, UNMEASURED = 9, 3
GOAL = 1.3


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
    """Train the same network to the same targets, and print the seconds of a step."""
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
        ends.append(time.perf_counter())
        loss.item()
    print_step(ends)


def print_step(ends: Sequence[float]) -> None:
    """Print the median seconds from one end of a step to the next, and end the process at once."""
    print("SECONDS", statistics.median(np.diff(ends)[UNMEASURED - 1 :]), flush=True)
    os._exit(0)


def run_fit(kind: str, folder: Path) -> None:
    """Train by `distill.fit` or by the command, and print the seconds of a step, by the progress bar."""
    import tqdm

    ends: list[float] = []

    def update(bar: tqdm.tqdm, count: int = 1) -> None:
        if (bar.desc or "").startswith("fit"):
            ends.append(time.perf_counter())
            if len(ends) == STEPS - 1:  # the last step also writes
                print_step(ends)

    tqdm.tqdm.update = update
    store, data, out = str(folder / "store"), str(folder / "audio"), str(folder / f"run{os.getpid()}")
    if kind == "python":
        distill.fit(
            teacher={"class_path": "precomputed", "init_args": {"store": store}}, student="mobilenet_v3", data=data,
            out=out, max_steps=STEPS, batch_size=BATCH, validation=0.0, engine={"accelerator": "cpu"},
        )  # fmt: skip
    from distill.cli.shell import main as command

    words = f"fit --teacher precomputed --teacher.store {store} --student mobilenet_v3 --data {data} --out {out}"
    words += f" --max_steps {STEPS} --batch_size {BATCH} --validation 0 --engine.accelerator cpu"
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
    """Return the seconds of a step in a new process."""
    environment = {**os.environ, **(DEFAULT_MALLOC if kind == "plain" else {})}
    command = [sys.executable, __file__, kind, str(folder)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    return float(ended.stdout.rpartition("SECONDS")[2])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder)
        case = f"step of `mobilenet_v3`, width 1, {BATCH} clips of {SECONDS} s, {FILE_RATE / 1000:g} kHz WAV"
        rows = []
        for kind, words in (("python", "by `distill.fit`"), ("command", "by `distill fit`")):
            ours, rival, ratio = in_turns(kind, "plain", measure=lambda kind: step_seconds(kind, folder))
            rows.append(Row(f"{case}, {words}", ours, rival, GOAL, "plain loop of PyTorch", ratio))
            print(*table(rows), sep="\n", flush=True)
    note = (
        "The plain loop loads, resamples and transforms clip by clip in two processes, as S-SONDO trains it, with "
        "glibc's own settings of memory. "
        f"A measurement is the median of {STEPS - 1 - UNMEASURED} steps of a new process."
    )
    write_section("Training step", [*table(rows), "", note], "training_step")


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    plain_loop(folder) if kind == "plain" else run_fit(kind, folder)
