"""Compare clustering and sampling with common alternatives."""

from __future__ import annotations

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
    for measure in (clustering, sampler):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder))
        print(*rows[-2:], sep="\n", flush=True)
    lines = [
        *table(rows),
        "",
        f"- Sampler over 100 million clips in 1,000 clusters: {large_sampler()}.",
    ]
    write_section("The pipeline", lines, "pipeline")
