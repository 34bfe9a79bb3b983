"""Write the clip embeddings of a store as one file that other programs read. The memory holds one shard at a time."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from distill.data.errors import UserError
from distill.data.files import write_atomically
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import readable_id

SUFFIXES = (".parquet", ".npz")


def check_export(path: Path) -> None:
    """Raise UserError if `export_store` cannot write a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: the name must end in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UserError("Parquet requires one more package: pip install 'audio-distill[parquet]'")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: {path.parent} is not a folder")


def export_store(store: EmbeddingStore, path: Path) -> None:
    """Write ids and embeddings, float32, in the order of the store.

    Args:
        store: A complete store.
        path: The file. ".parquet": columns `id` (string) and `embedding` (list of fixed size). ".npz": arrays `ids`
            (text) and `embeddings` (clips, dim), without pickles.

    Raises:
        UserError: the name ends otherwise, its folder does not exist, or the package for Parquet is missing.
    """
    check_export(path)
    write = _write_parquet if path.suffix.lower() == ".parquet" else _write_npz
    write_atomically(path, lambda file: write(store, file))


def _write_parquet(store: EmbeddingStore, file: BinaryIO) -> None:
    import pyarrow
    from pyarrow import parquet

    facts = {"fingerprint": store.fingerprint, "origin": store.origin}
    embedding = pyarrow.list_(pyarrow.float32(), store.dim)
    schema = pyarrow.schema(
        [("id", pyarrow.string()), ("embedding", embedding)], metadata={"distill": json.dumps(facts)}
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for ids, vectors in store.blocks():
            values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), store.dim)
            texts = pyarrow.array([readable_id(clip_id) for clip_id in ids], pyarrow.string())
            writer.write_table(pyarrow.table([texts, values], schema=schema))


def _write_npz(store: EmbeddingStore, file: BinaryIO) -> None:
    longest = max((len(clip_id) for clip_id in store.ids), default=1)
    text = np.dtype(f"<U{max(1, longest)}")
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        with _array(archive, "ids", text, (len(store),), zipfile.ZIP_DEFLATED) as member:
            for ids, _ in store.blocks():
                member.write(np.array(list(ids), text).tobytes())
        with _array(archive, "embeddings", np.dtype("<f4"), (len(store), store.dim), zipfile.ZIP_STORED) as member:
            for _, vectors in store.blocks():
                member.write(vectors.astype("<f4", copy=False).tobytes())


def _array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], compression: int
) -> IO[bytes]:
    """Begin an array of an .npz file, whose values follow."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = compression
    member = archive.open(entry, "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member
