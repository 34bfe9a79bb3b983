"""Compare the store, clustering and sampling with common alternatives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import Row, in_turns, table, write_section

from distill.data.sampling.batches import BatchSampler
from distill.data.sampling.clusters import cluster
from distill.data.sampling.orders import ClusterOrder, cluster_weights
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter


def store(folder: Path) -> list[Row]:
    count, dim = 20_000, 768
    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    ids = [f"{row:06d}" for row in range(count)]
    by_id = dict(zip(ids, vectors, strict=True))
    runs = iter(range(100))

    def write_ours() -> None:
        writer = StoreWriter(folder / f"store{next(runs)}", ids, dim, {})
        for shard in writer.missing_shards():
            writer.write(shard, by_id)

    def write_rival() -> None:
        target = folder / f"npz{next(runs)}"
        target.mkdir()
        for clip_id in ids:
            np.savez(target / f"{clip_id}.npz", embed=by_id[clip_id])

    ours, rival, ratio = in_turns(write_ours, write_rival)
    store_folder = max(folder.glob("store*"), key=os.path.getmtime)
    npz_folder = max(folder.glob("npz*"), key=os.path.getmtime)
    order = np.random.default_rng(1).permutation(count)[:6400].reshape(-1, 64)
    batches = [[ids[row] for row in rows] for rows in order]
    opened = EmbeddingStore(store_folder)

    def read_rival() -> None:
        for batch in batches:
            np.stack([np.load(npz_folder / f"{clip_id}.npz")["embed"] for clip_id in batch])

    read_ours, read_theirs, read_ratio = in_turns(lambda: [opened[batch] for batch in batches], read_rival)
    case, others = "store: write 20,000 x 768 as float16, with fsync and sha256", "one .npz per clip"
    return [
        Row(case, ours, rival, 20, f"{others}, no fsync", ratio),
        Row("store: 100 random reads of 64 rows", read_ours, read_theirs, 15, others, read_ratio),
    ]


def clustering(folder: Path) -> list[Row]:
    from sklearn.cluster import MiniBatchKMeans

    random = np.random.default_rng(0)
    centres = random.standard_normal((200, 768)) * 2
    points = (centres[random.integers(0, 200, 50_000)] + random.standard_normal((50_000, 768))).astype(np.float32)
    inertia: dict[str, float] = {}

    def ours() -> None:
        inertia["ours"] = cluster(points, 50)[2]

    def rival() -> None:
        # The settings of S-SONDO.
        kmeans = MiniBatchKMeans(
            50, max_iter=100, batch_size=10_000, tol=0.0, max_no_improvement=100, n_init=10, reassignment_ratio=0.0,
            random_state=42,
        )  # fmt: skip
        inertia["rival"] = float(kmeans.fit(points).inertia_)

    seconds, theirs, ratio = in_turns(ours, rival)
    excess = inertia["ours"] / inertia["rival"] - 1
    case = f"k-means 50,000 x 768, K 50 (inertia {excess:+.2%})"
    return [Row(case, seconds, theirs, 10, "sklearn MiniBatchKMeans", ratio)]


def sampler(folder: Path) -> list[Row]:
    clips = 2_000_000
    labels = np.random.default_rng(0).integers(0, 50, clips)

    def ours() -> None:
        for _ in BatchSampler(ClusterOrder(labels), 256, clips // 256):
            pass

    def rival() -> None:
        weights = torch.from_numpy(cluster_weights(labels))
        drawn = torch.utils.data.WeightedRandomSampler(weights, clips)  # type: ignore[arg-type]
        for _ in torch.utils.data.BatchSampler(drawn, 256, drop_last=True):
            pass

    seconds, theirs, ratio = in_turns(ours, rival)
    case = "sampler: 2 M draws of 2 M clips, built and batched"
    return [Row(case, seconds, theirs, 5, "WeightedRandomSampler", ratio)]


def large_sampler() -> str:
    """Measure building and drawing for 100 million clips in a process of its own: time and memory."""
    script = (
        "import time, resource, numpy as np\n"
        "from distill.data.sampling.orders import ClusterOrder\n"
        "labels = np.random.default_rng(0).integers(0, 1000, 100_000_000, dtype=np.int16)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "begin = time.perf_counter(); order = ClusterOrder(labels); built = time.perf_counter() - begin\n"
        "begin = time.perf_counter(); order.indices(0, 0, 1_000_000); drawn = time.perf_counter() - begin\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(f'{built:.1f} s to build, {drawn * 1e3:.0f} ms for a million draws, "
        "{order._by_cluster.nbytes / 2**20:.0f} MiB in memory, {peak / 2**20:.2f} GiB at the peak')"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    rows: list[Row] = []
    for measure in (store, clustering, sampler):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder))
        print(*rows[-2:], sep="\n", flush=True)
    lines = [
        *table(rows),
        "",
        f"- Sampler over 100 million clips in 1,000 clusters: {large_sampler()}.",
    ]
    write_section("The pipeline", lines, "pipeline")
