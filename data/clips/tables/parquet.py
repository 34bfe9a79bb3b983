"""Read tables in Parquet. Only the columns that are used are read."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.tables.chunks import CHUNK_ROWS, Chunk, TableFile
from distill.data.clips.tables.sounds import Sound
from distill.data.errors import UserError, first_line

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

_MAX_FOOTER = 64 << 20  # bytes of the description of a file
_MAX_VALUE = 1 << 20  # bytes
_CHUNK_BYTES = 1 << 26  # a chunk of long values has fewer rows
_NULLS_BYTES = 128  # more than a column of nulls has
_SOUNDS_AT_ONCE = 16
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
    features = _features(schema.metadata or {})
    sounds = _sounds(file, features)
    return TableFile(
        path,
        tuple(schema.names),
        lambda columns: _chunks(path, file, columns, sounds),
        unit="row",
        classes=_class_names(features),
        sounds=sounds,
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


def _chunks(path: Path, file: ParquetFile, columns: Sequence[str], sounds: Mapping[str, Sound]) -> Iterator[Chunk]:
    """Yield the rows of a file. Sounds are not read."""
    import pyarrow

    texts = [name for name in columns if name not in sounds or sounds[name].has_path]
    leaves = [_leaf(file, name) for name in texts]
    first = 1
    try:
        holds = {name: _holds_sound(file, sounds[name].bytes) for name in columns if name in sounds}
        rows = max(1, min(CHUNK_ROWS, _CHUNK_BYTES // _longest_value(path, file, leaves)))
        for batch in file.iter_batches(rows, columns=leaves, use_threads=False):
            end = first + len(batch)
            values = {
                name: batch.column(name).to_pylist() if name in texts else [None] * len(batch) for name in columns
            }
            yield Chunk(
                range(first, end), values, sounds={name: held[first - 1 : end - 1] for name, held in holds.items()}
            )
            first = end
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{path}, from row {first} on: {first_line(error)}") from error


def _holds_sound(file: ParquetFile, leaf: str) -> NDArray[np.bool_]:
    """Return which rows hold a sound. Shape (rows,). Without statistics, all rows count."""
    groups = [np.zeros(0, bool)]
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == leaf)
        has_count = column.statistics is not None and column.statistics.has_null_count
        nulls = column.statistics.null_count if has_count else 0
        if 0 < nulls < group.num_rows:
            groups.append(_not_null(file, number, leaf))
        else:
            groups.append(np.full(group.num_rows, nulls == 0))
    return np.concatenate(groups)


def _not_null(file: ParquetFile, group: int, leaf: str) -> NDArray[np.bool_]:
    """Return which rows of a group hold a sound, by reading its sounds, a few at a time."""
    found = []
    for batch in file.iter_batches(_SOUNDS_AT_ONCE, row_groups=[group], columns=[leaf], use_threads=False):
        column = batch.column(0)
        for field in leaf.split(".")[1:]:
            column = column.flatten()[column.type.get_field_index(field)]
        found.append(np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool))
    return np.concatenate(found)


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
    if not leaves:
        return longest
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


def _sounds(file: ParquetFile, features: Mapping[str, Any]) -> dict[str, Sound]:
    """Return the columns that hold sounds: mappings with bytes, as in data sets of Hugging Face, or bytes alone."""
    import pyarrow

    found: dict[str, Sound] = {}
    kinds = pyarrow.types
    binary = {f.name for f in file.schema_arrow if kinds.is_binary(f.type) or kinds.is_large_binary(f.type)}
    for leaf, size, rows in _sizes(file):
        column, _, field = leaf.partition(".")
        feature = features.get(column)
        kind = feature.get("_type") if isinstance(feature, dict) else None
        holds_bytes = field == "bytes" or (leaf in binary and size > _SOUND_BYTES * rows)
        if rows and holds_bytes and kind in ("Audio", "Value", None):  # not images
            has_path = field == "bytes" and file.schema_arrow.field(column).type.get_field_index("path") >= 0
            found[column] = Sound(leaf, has_path, kind == "Audio")
    return found


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the features of a data set of Hugging Face by the name of the column. Empty: it is none."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {str(column): feature for column, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _class_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of classes that a data set stores as numbers, by the name of the column."""
    try:
        names = {column: tuple(map(str, _names(feature))) for column, feature in features.items()}
    except (KeyError, TypeError, IndexError):
        return {}
    return {column: classes for column, classes in names.items() if classes}


def _names(feature: Any) -> Iterable[Any]:
    """Return the names of a feature's classes, also inside a list of them."""
    while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature.get("names", ()) if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else ()
