"""`distill store`: describe a store of embeddings, verify it, and write it for other programs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from distill.data.encoders.checkpoint import Provenance
from distill.data.errors import UserError
from distill.data.store.export import check_export, export_store
from distill.data.store.reader import EmbeddingStore


def store(store: str, out: str = "") -> EmbeddingStore:
    """Print what a store holds, compare its files with their SHA-256, and write it for other programs.

    `distill store STORE` is the same as `distill store --store STORE`.

    Args:
        store: Folder written by `distill embed`, or by `distill fit` in its run.
        out: File of ids and clip embeddings, ".parquet" or ".npz". Empty: none is written.

    Returns:
        The store, opened for reading. It may be incomplete.

    Raises:
        UserError: the folder holds no store, a file of it is damaged, or an incomplete store shall be written.
    """
    if out:
        check_export(Path(out))
    opened = EmbeddingStore(store, partial=True)
    print("\n".join(_lines(opened)))
    opened.verify()
    print(f"verified: the files of {opened.shard_count - len(opened.missing_shards)} shards are as they were written")
    if out:
        if opened.missing_shards:
            raise UserError(f"--out {out}: {opened.path} is not complete; run its `distill embed` again first")
        export_store(opened, Path(out))
        print(f"{len(opened):,} ids and embeddings of {opened.dim} numbers in {out}")
    return opened


def _lines(opened: EmbeddingStore) -> list[str]:
    """Return the facts of a store, one per line."""
    facts = opened.fingerprint
    size = sum(file.stat().st_size for file in opened.path.iterdir() if file.is_file())
    frames = f"frames of {opened.frame_dim} numbers" if opened.frame_dim else "no frames"
    lines = [
        f"{opened.path}: {len(opened):,} clips of {opened.dim} numbers, {facts['dtype']}, {frames}",
        f"encoder: {facts.get('encoder', 'not stated')}, licence: {opened.origin.get('licence', 'not stated')}",
    ]
    if "provenance" in opened.origin:
        lines.append(f"weights: {Provenance(**opened.origin['provenance'])}")
    if "crop_seconds" in facts:
        crop = f"{facts['crop_seconds']:g} s, {facts['crop_position']}" if facts["crop_seconds"] else "whole clips"
        lines.append(f"input: {facts['sample_rate']} Hz, crop: {crop}")
    lines.append(f"on disk: {size / 2**20:,.1f} MiB in {opened.shard_count:,} shards")
    reasons = Counter(clip.reason for clip in opened.set_aside).most_common()
    lines.append("set aside: " + (", ".join(f"{count:,} {reason}" for reason, count in reasons) or "none"))
    if opened.removed:
        lines.append(f"removed from the data: {opened.removed:,}")
    if missing := opened.missing_shards:
        lines.append(
            f"not complete: {len(missing):,} of {opened.shard_count:,} shards are not finished, with "
            f"{opened.kept_rows():,} clips kept; run the same `distill embed` again to continue"
        )
    return lines
