"""Compare the input path of training with the common way; time exact metrics and probes."""

from __future__ import annotations

import csv
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from measure import Row, median, paired, table, write_section
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import distill
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.module import AudioData
from distill.data.clips.sources import read_manifest
from distill.data.sampling.clusters import cluster
from distill.data.sampling.orders import ClusterOrder, cluster_weights
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.evaluation.metrics import overall
from distill.evaluation.scoring import Labels, score_embeddings
from distill.teachers.precomputed import Precomputed

CLIPS, DIM, BATCH = 400, 3840, 32


class PerClip(Dataset[tuple[Tensor, Tensor]]):
    """Load, resample, pad, mel and npz of one clip in `__getitem__`, as S-SONDO does (commit f89abf2, transcribed)."""

    def __init__(self, paths: list[Path], embeddings: Path) -> None:
        self.paths, self.embeddings = paths, embeddings
        self.resample = torchaudio.transforms.Resample(16_000, 32_000)
        self.mel = torchaudio.transforms.MelSpectrogram(
            32_000, n_fft=1024, win_length=1024, hop_length=512, center=False, n_mels=128, f_min=50, f_max=16_000,
            mel_scale="slaney", norm="slaney", power=2.0,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        samples, rate = soundfile.read(self.paths[index], dtype="float32", always_2d=True)
        assert rate == 16_000
        waveform = self.resample(torch.from_numpy(samples.T).mean(0, keepdim=True))[:, :320_000]
        waveform = torch.nn.functional.pad(waveform, (0, 320_000 - waveform.shape[1]))
        embedding = np.load(self.embeddings / f"{self.paths[index].stem}.npz")["embed"]
        return (self.mel(waveform) + 0.001).log(), torch.from_numpy(embedding)


def input_path(folder: Path) -> list[Row]:
    """Time clips of 10 s at 16 kHz: decode, crop, resample to 32 kHz, log-mel, stored embedding; on two cores.

    The rival has two processes. Ours has one, because it decodes whole batches and the front-end uses both cores.
    """
    random = np.random.default_rng(0)
    (folder / "audio").mkdir()
    (folder / "npz").mkdir()
    vectors = random.standard_normal((CLIPS, DIM)).astype(np.float32)
    paths = []
    for number, vector in enumerate(vectors):
        path = folder / "audio" / f"{number:04d}.wav"
        soundfile.write(path, random.standard_normal(160_000) * 0.1, 16_000, subtype="PCM_16")
        np.savez(folder / "npz" / f"{path.stem}.npz", embed=vector)
        paths.append(path)
    manifest = read_manifest(folder / "audio")
    writer = StoreWriter(folder / "store", [row.id for row in manifest.rows], DIM, {"sample_rate": 16_000})
    by_id = dict(zip([row.id for row in manifest.rows], vectors, strict=True))
    for shard in writer.missing_shards():
        writer.write(shard, by_id)
    teacher = Precomputed(folder / "store")
    student = distill.create_student("mobilenet_v3", width=0.1)
    labels, _, _ = cluster(vectors, 10, repeats=1)
    order = ClusterOrder(labels, 0)
    clips = ClipDataset(manifest, 32_000, Crop())
    empty = ClipDataset(manifest.subset([]), 32_000, Crop())

    def ours() -> None:
        for loaded in AudioData(clips, empty, order, BATCH, CLIPS // BATCH, workers=0).train_dataloader():
            assert loaded.batch is not None
            student.mel(loaded.batch.waveform)
            teacher(loaded.batch)

    def rival() -> None:
        sampler = WeightedRandomSampler(cluster_weights(labels).tolist(), CLIPS, True)
        for _ in DataLoader(PerClip(paths, folder / "npz"), BATCH, sampler=sampler, num_workers=2, drop_last=True):
            pass

    taken, theirs, ratio = paired(ours, rival, 5)
    assert len(EmbeddingStore(folder / "store")) == CLIPS
    case = f"input path, {CLIPS // BATCH * BATCH} clips of 10 s"
    return [Row(case, taken, theirs, 3.0, "per clip, as S-SONDO", ratio)]


def waiting(folder: Path) -> list[str]:
    """Measure the share of a training step of `mobilenet_v3` at width 1 that waits for data from files."""
    with_teacher = {"class_path": "precomputed", "init_args": {"store": str(folder / "store")}}
    distill.fit(
        teacher=with_teacher, student="mobilenet_v3", data=str(folder / "audio"), out=str(folder / "run"), epochs=2,
        batch_size=BATCH, validation=0.0, engine={"workers": 1, "accelerator": "cpu"},
    )  # fmt: skip
    with open(folder / "run" / "metrics.csv", newline="") as file:
        waits = [float(row["data_wait"]) for row in csv.DictReader(file) if row["data_wait"]]
    return [
        f"- `fit` of `mobilenet_v3` (width 1) from wav files of 10 s waits for data {statistics.median(waits):.1%} of "
        "a step (median over the run; goal: at most 10 %)"
    ]


def metrics() -> list[str]:
    random = np.random.default_rng(0)
    scores = random.standard_normal((20_000, 527)).astype(np.float32)
    truth = (random.random((20_000, 527)) < 0.01).astype(np.float32)
    seconds = median(lambda: overall(scores, truth))
    return [f"- exact mAP and AUC of 20,000 clips and 527 classes: {seconds:.2g} s (goal: at most 6 s)"]


def probe() -> list[str]:
    random = np.random.default_rng(0)
    classes = np.arange(2000) % 50
    embeddings = (random.standard_normal((50, 768))[classes] + 4 * random.standard_normal((2000, 768))).astype(
        np.float32
    )
    parts = tuple(str(number // 50 % 5 + 1) for number in range(2000))
    labels = Labels(tuple(f"{c:02d}" for c in range(50)), np.eye(50, dtype=np.float32)[classes], None, parts)
    begin = time.perf_counter()
    result = score_embeddings(embeddings, labels).result
    seconds = time.perf_counter() - begin
    return [
        f"- linear probe of 2,000 embeddings of 768 numbers, 50 classes, 5 folds, hyper-parameters by inner folds: "
        f"{seconds:.2g} s (goal: at most 10 s; accuracy {result.score:.3f} on synthetic data)"
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = input_path(folder)
        lines = [*table(rows), "", *waiting(folder)]
    write_section("Data and evaluation", [*lines, *metrics(), *probe()], "learning_data")
