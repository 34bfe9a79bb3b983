"""Compare writing and reading a store with a file for each clip."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from measure import Row, in_turns, table, write_section

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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = store(Path(folder))
    write_section("Files of a store", table(rows), "store_files")
