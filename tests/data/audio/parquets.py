"""Parquet files with sounds, in every form that writers give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
WRITERS: dict[str, dict[str, Any]] = {
    "default": {},
    "small groups": {"row_group_size": 7},
    "many pages": {"use_dictionary": False, "data_page_size": 2000, "write_batch_size": 2},
    "content-defined pages": {"use_content_defined_chunking": {"min_chunk_size": 3000, "max_chunk_size": 9000}},
    "dictionary, then plain": {"dictionary_pagesize_limit": 20_000, "write_batch_size": 2},
    "not compressed": {"compression": "none"},
    "not compressed, no dictionary": {"compression": "none", "use_dictionary": False},
    "zstd": {"compression": "zstd"},
    "gzip": {"compression": "gzip"},
    "brotli": {"compression": "brotli"},
    "lz4": {"compression": "lz4"},
    "version 2": {"data_page_version": "2.0"},
    "version 2, plain": {"data_page_version": "2.0", "use_dictionary": False, "compression": "zstd"},
    "page index and checksums": {"write_page_index": True, "write_page_checksum": True},
    "statistics of values": {"write_statistics": True, "use_dictionary": False, "compression": "none"},
    "lengths apart": {"use_dictionary": False, "column_encoding": {"audio.bytes": "DELTA_LENGTH_BYTE_ARRAY"}},
}


def contents() -> list[bytes | None]:
    """Return 30 random values of many sizes: short, long, equal, empty and null."""
    generator = np.random.default_rng(0)
    values: list[bytes | None] = [generator.bytes(int(size)) for size in generator.integers(1, 6000, 30)]
    values[3], values[4], values[8], values[9], values[20] = None, b"", values[7], bytes(5000), None
    return values


def write(path: Path, sounds: Sequence[bytes | None], writer: str = "default", **columns: Sequence[Any]) -> Path:
    """Write sounds as Hugging Face does: a column `audio` of {bytes, path}, beside other columns."""
    audio = [{"bytes": sound, "path": f"{number}.wav"} for number, sound in enumerate(sounds)]
    table = pyarrow.table({"audio": pyarrow.array(audio, AUDIO), **columns})
    pyarrow.parquet.write_table(table, path, **WRITERS[writer])
    return path
