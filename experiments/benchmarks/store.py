"""Time and peak memory of stores of millions of clips: opened, updated, clustered, and drawn from by clusters."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import ROOT, Row, peak_kib, table, write_section
from numpy.typing import NDArray

from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Category, Manifest, Rows
from distill.data.clips.stamps import FileStates
from distill.data.sampling.orders import ClusterOrder
from distill.data.store.reader import EmbeddingStore
from distill.data.store.shard import EMBEDDED, Block, Shard
from distill.data.store.stamps import STAMP
from distill.data.store.texts import Texts, TextsBuilder
from distill.data.store.writer import StoreWriter
from distill.run.clusters import clustering_of
from distill.run.updates import find_update

WIDE = (1_000_000, 768)  # a tenth of ten million clips: 1.5 GB
LONG = (10_000_000, 8)
NEW, CLUSTERS, BATCH = 12, 50, 64
GOAL_GIB = 2.5
FINGERPRINT = {"sample_rate": 16_000, "encoder": "made up"}
SIZE, TIME = 1000, 5  # of each file, as a store remembers it


def clip_ids(first: int, count: int) -> Texts:
    builder = TextsBuilder()
    for begin in range(first, first + count, 1 << 16):
        numbers = range(begin, min(begin + (1 << 16), first + count))
        builder.extend([f"folder_{n // 10_000:05d}/recording_clip_{n:08d}.wav" for n in numbers])
    return builder.build()


def known(count: int) -> NDArray[np.void]:
    """Return the states of files that have not changed. Shape (count,)."""
    states = np.zeros(count, STAMP)
    states["window"], states["size"], states["time"] = 1, SIZE, TIME
    return states


def make_store(folder: Path, clips: int, dim: int) -> None:
    """Write a store of random embeddings around a thousand centres."""
    writer = StoreWriter(folder, clip_ids(0, clips), dim, FINGERPRINT, "float16")
    random = np.random.default_rng(0)
    centres = random.standard_normal((1000, dim), np.float32)
    for number in range(writer.shard_count):
        shard = Shard(number, writer.plan.ids_of(number), writer.plan.row_format)
        count = len(shard.ids)
        points = centres[random.integers(0, 1000, count)] + 0.3 * random.standard_normal((count, dim), np.float32)
        states = np.full(count, EMBEDDED, np.uint8)
        shard.put(Block(shard.ids, states, known(count), points.astype(np.float16), [], []))
        writer.finish(shard)


class KnownStates(FileStates):
    """States of files that are the same as when they were embedded. No file is there."""

    def stamps(self, numbers: NDArray[np.int64]) -> NDArray[np.void]:
        return known(len(numbers))


def open_store(folder: Path) -> object:
    return EmbeddingStore(folder)


def update_store(folder: Path) -> object:
    """Find what a list of clips with 12 new ones changes."""
    held = len(EmbeddingStore(folder))
    ids = Texts.joined([clip_ids(held, NEW), clip_ids(0, held)])
    codes = np.zeros(len(ids), np.int32)
    nothing, split = Category(((),), codes), Category((("",),), codes)
    times = np.zeros(len(ids)), np.full(len(ids), np.nan)
    manifest = Manifest(folder, Rows(ids, None, folder, *times, nothing, split, nothing))
    writer = StoreWriter(folder, manifest.ids, LONG[1], FINGERPRINT, "float16", refuse_others=True)
    update = find_update(writer, KnownStates(manifest, Crop()), True, range(writer.shard_count))
    assert update.to_embed == NEW
    return update


def cluster_and_draw(folder: Path) -> object:
    """Cluster a store by its clips, and draw the first batch by clusters."""
    store = EmbeddingStore(folder)
    clustering = clustering_of(store, folder / "clusters", CLUSTERS, False, 0, store.ids)
    return ClusterOrder(clustering.labels_of(store.ids)).indices(0, 0, BATCH)


CASES: dict[str, Callable[[Path], object]] = {
    case.__name__: case for case in (open_store, update_store, cluster_and_draw)
}


def measured(case: Callable[[Path], object], folder: Path) -> tuple[float, float]:
    """Return seconds and peak memory in GiB of a case in a new process."""
    command = [sys.executable, __file__, case.__name__, str(folder)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    seconds, kib = json.loads(ended.stdout)
    return seconds, kib / 2**20


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for (clips, dim), cases in ((LONG, (open_store, cluster_and_draw, update_store)), (WIDE, (cluster_and_draw,))):
            path = Path(folder) / f"{dim}"
            make_store(path, clips, dim)
            for case in cases:
                seconds, gib = measured(case, path)
                name = f"{clips:,} clips of {dim}: {case.__name__.replace('_', ' ')}"
                rows.append(Row(name, seconds, None, math.nan))
                rows.append(Row(f"{name}, peak memory of the process", gib, None, GOAL_GIB, unit="GiB"))
    lines = [
        *table(rows),
        "",
        "One process with one thread of FAISS.",
        f"Made-up stores in float16, from the page cache. Update: the list has {NEW} new clips; the states of the",
        f"files are given, not read from a disk. Cluster and draw: {CLUSTERS} clusters, written with their picture,",
        f"then the first batch of {BATCH}. Ten million clips of 768 numbers are",
        "ten times the bytes of one million, read in the same pieces, and have the lists of the long store.",
    ]
    write_section("Stores of millions", lines, "store")


if __name__ == "__main__":
    begin = time.perf_counter()
    CASES[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps([time.perf_counter() - begin, peak_kib()]))
