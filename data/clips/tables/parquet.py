"""Read tables in Parquet. Only the columns that are used are read."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.data.clips.tables.chunks import CHUNK_ROWS, Chunk, TableFile
from distill.data.errors import UserError, first_line

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

_MAX_FOOTER = 64 << 20  # bytes of the description of a file
_MAX_VALUE = 1 << 20  # bytes
_CHUNK_BYTES = 1 << 26  # a chunk of long values has fewer rows
_NULLS_BYTES = 128  # more than a column of nulls has
_SOUND_BYTES = 1 << 12  # a column of bytes with longer values holds sounds


def open_parquet(path: Path) -> TableFile:
    """Open a Parquet file.

    Raises:
        UserError: pyarrow is not installed, or the file is damaged or has too many columns.
        OSError: the file cannot be read.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow; pip install 'audio-distill[parquet]'") from error
    _check_footer(path)
    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema = file.schema_arrow
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    return TableFile(
        path,
        tuple(schema.names),
        lambda columns: _chunks(path, file, columns),
        unit="row",
        classes=_class_names(schema.metadata or {}),
        bytes_columns=_bytes_columns(file),
    )


def _check_footer(path: Path) -> None:
    """Raise UserError if the file is not Parquet, or its description would take too much memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read(8)
    if size < 12 or end[4:] != b"PAR1":
        raise UserError(f"{path}: not a Parquet file, or it is cut off")
    footer = struct.unpack("<I", end[:4])[0]
    if footer > min(_MAX_FOOTER, size):
        raise UserError(f"{path}: its description has {footer:,} bytes; does it have too many columns?")


def _chunks(path: Path, file: ParquetFile, columns: Sequence[str]) -> Iterator[Chunk]:
    """Yield the rows of a file."""
    import pyarrow

    leaves = [_leaf(file, name) for name in columns]
    first = 1
    try:
        rows = max(1, min(CHUNK_ROWS, _CHUNK_BYTES // _longest_value(path, file, leaves)))
        for batch in file.iter_batches(rows, columns=leaves, use_threads=False):
            yield Chunk(range(first, first + len(batch)), {name: batch.column(name).to_pylist() for name in columns})
            first += len(batch)
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{path}, from row {first} on: {first_line(error)}") from error


def _leaf(file: ParquetFile, name: str) -> str:
    """Return the name under which a column is read. Of a mapping with a path, only the path is read."""
    import pyarrow

    kind = file.schema_arrow.field(name).type
    return f"{name}.path" if pyarrow.types.is_struct(kind) and kind.get_field_index("path") >= 0 else name


def _longest_value(path: Path, file: ParquetFile, leaves: Sequence[str]) -> int:
    """Return an estimate of the bytes of the longest value that is read.

    Raises:
        UserError: the values are too long for a table of clips.
    """
    import pyarrow.parquet

    names, longest = set(), 1
    for name, size, rows in _sizes(file):
        if any(name == leaf or name.startswith(f"{leaf}.") for leaf in leaves):
            names.add(name)
            longest = max(longest, size // max(1, rows))
    # A value that a small file repeats can take much memory. It is in the dictionary, which comes with the first row.
    coded = pyarrow.parquet.ParquetFile(path, read_dictionary=sorted(names))
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        if longest <= _MAX_VALUE and group.num_rows * group.total_byte_size > _CHUNK_BYTES:
            batch = next(coded.iter_batches(1, row_groups=[number], columns=list(leaves), use_threads=False), None)
            for column in batch.columns if batch is not None else ():
                longest = max(longest, _longest_in_dictionary(column))
    if longest > _MAX_VALUE:
        raise UserError(f"{path}: has values of {longest:,} bytes; must be at most {_MAX_VALUE:,}")
    return longest


def _longest_in_dictionary(column: Array) -> int:
    """Return the bytes of the longest value in the dictionaries of a column; 0 without any."""
    import pyarrow.compute

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        return pyarrow.compute.max(pyarrow.compute.binary_length(column.dictionary)).as_py() or 0
    if pyarrow.types.is_struct(kind):
        return max(map(_longest_in_dictionary, column.flatten()), default=0)
    return _longest_in_dictionary(column.values) if pyarrow.types.is_list(kind) else 0


def _sizes(file: ParquetFile) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each column in each group of rows, with its bytes in memory and the rows that have a value.

    Without statistics, all rows of a column count, unless it has hardly any bytes.
    """
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            statistics = column.statistics
            size, rows = column.total_uncompressed_size, group.num_rows
            if statistics is not None and statistics.has_null_count:
                rows -= statistics.null_count
            elif size < _NULLS_BYTES:
                rows = 0
            yield column.path_in_schema, size, rows


def _bytes_columns(file: ParquetFile) -> frozenset[str]:
    """Return the columns that hold sounds: mappings with bytes, as in data sets of Hugging Face, or bytes alone."""
    import pyarrow

    binary = {field.name for field in file.schema_arrow if pyarrow.types.is_binary(field.type)}
    found = set()
    for name, size, rows in _sizes(file):
        column, _, leaf = name.partition(".")
        if rows and (leaf == "bytes" or (name in binary and size > _SOUND_BYTES * rows)):
            found.add(column)
    return frozenset(found)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the names of classes that a data set of Hugging Face stores as numbers, by the name of the column."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = {str(column): tuple(map(str, _names(feature))) for column, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return {}
    return {column: classes for column, classes in names.items() if classes}


def _names(feature: Any) -> Iterable[Any]:
    """Return the names of a feature's classes, also inside a list of them."""
    while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature.get("names", ()) if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else ()
