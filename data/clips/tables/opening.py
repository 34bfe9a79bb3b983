"""Open a table by its suffix."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from distill.data.clips.tables.chunks import TableFile
from distill.data.clips.tables.parquet import open_parquet
from distill.data.clips.tables.text import open_delimited, open_json
from distill.data.errors import UserError, first_line

TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".jsonl", ".parquet"}


def open_table(path: Path) -> TableFile:
    """Open a table.

    Args:
        path: A file with one of `TABLE_SUFFIXES`.

    Raises:
        UserError: the file cannot be read, or is not a table.
    """
    suffix = path.suffix.lower()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: not a regular file")
        if suffix == ".parquet":
            return open_parquet(path)
        return open_json(path) if suffix == ".jsonl" else open_delimited(path, "," if suffix == ".csv" else "\t")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or first_line(error)}") from error
