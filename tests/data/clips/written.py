"""Tables for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(folder: Path, text: str, name: str = "clips.csv") -> Path:
    """Write a table in text."""
    (folder / name).write_text(text, errors="surrogateescape")
    return folder / name


def parquet(folder: Path, columns: Mapping[str, Sequence[Any]], name: str = "clips.parquet") -> Path:
    """Write a table in Parquet."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), folder / name)
    return folder / name
