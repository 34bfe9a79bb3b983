"""Every cell of every kind of Parquet file is what pyarrow reads, and damaged files are refused."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from distill.data.audio import cells
from distill.data.audio.cells import locate
from distill.data.errors import AudioError
from tests.data.audio.parquets import AUDIO, WRITERS, contents, write


def cell(path: Path, row: int, column: str = "audio.bytes") -> bytes | None:
    with open(path, "rb", buffering=0) as file:
        try:
            place = locate(file, column, row)
        except AudioError as error:
            if error.reason != "missing":
                raise
            return None
        return place.read_at(place.first, place.size)


@pytest.mark.parametrize("writer", WRITERS)
def test_cells_in_any_order_are_what_was_written(writer: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", contents(), writer)
    for row in np.random.default_rng(1).permutation(30).tolist():
        assert cell(path, row) == contents()[row]


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_a_binary_column_needs_no_structure(kind: object, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"flac": pyarrow.array(contents(), kind)}), tmp_path / "a.parquet")
    assert [cell(tmp_path / "a.parquet", row, "flac") for row in range(30)] == contents()


def test_a_column_without_nulls_needs_no_levels(tmp_path: Path) -> None:
    schema = pyarrow.schema([pyarrow.field("flac", pyarrow.binary(), nullable=False)])
    table = pyarrow.table({"flac": [b"ab", b"c", b"ab"]}, schema=schema)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [cell(tmp_path / "a.parquet", row, "flac") for row in range(3)] == [b"ab", b"c", b"ab"]


def test_an_audio_value_may_be_null_as_a_whole(tmp_path: Path) -> None:
    audio = pyarrow.array([None, {"bytes": b"ab", "path": None}, {"bytes": None, "path": "x"}], AUDIO)
    pyarrow.parquet.write_table(pyarrow.table({"audio": audio}), tmp_path / "a.parquet")
    assert [cell(tmp_path / "a.parquet", row) for row in range(3)] == [None, b"ab", None]


def test_a_new_version_of_a_file_is_read_again(tmp_path: Path) -> None:
    for sounds in ([b"first", b"second"], [b"another", b"file"]):
        path = write(tmp_path / "new.parquet", sounds)
        path.replace(tmp_path / "a.parquet")
        assert [cell(tmp_path / "a.parquet", row) for row in range(2)] == sounds


@pytest.mark.parametrize(
    ("row", "column", "detail"),
    [
        (30, "audio.bytes", "the file has 30 rows"),
        (-1, "audio.bytes", "the file has 30 rows"),
        (0, "audio.path.x", "no column 'audio.path.x' of bytes"),
        (0, "label", "no column 'label' of bytes"),
        (0, "many.list.element", "the column 'many.list.element' holds lists"),
    ],
)
def test_what_is_no_cell_is_refused(row: int, column: str, detail: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", contents(), label=range(30), many=[[b"a"]] * 30)
    with (
        open(path, "rb") as file,
        pytest.raises(AudioError, match=f"^malformed: row {row} of the Parquet file: {detail}"),
    ):
        locate(file, column, row)


def test_a_file_without_rows_has_no_cell(tmp_path: Path) -> None:
    with open(write(tmp_path / "a.parquet", []), "rb") as file, pytest.raises(AudioError, match="the file has 0 rows"):
        locate(file, "audio.bytes", 0)


@pytest.mark.parametrize("writer", WRITERS)
def test_damage_anywhere_is_an_audio_error_or_other_bytes(writer: str, tmp_path: Path) -> None:
    original = write(tmp_path / "a.parquet", contents()[:10], writer).read_bytes()
    generator = np.random.default_rng(2)
    refused = 0
    for attempt in range(60):
        damaged = bytearray(original)
        if attempt % 3 == 0:
            del damaged[int(generator.integers(len(damaged))) :]
        else:  # headers of pages are where damage matters: at the start, and before the footer
            place = int(generator.integers(40) if attempt % 3 == 1 else generator.integers(len(damaged)))
            damaged[place] ^= int(generator.integers(1, 256))
        path = tmp_path / f"{attempt}.parquet"
        path.write_bytes(damaged)
        with open(path, "rb", buffering=0) as file:
            for row in range(10):
                try:
                    place_of = locate(file, "audio.bytes", row)
                    place_of.read_at(place_of.first, min(place_of.size, 1 << 20))
                except (AudioError, ValueError):
                    refused += 1
    assert refused > 100


def test_a_process_remembers_a_limited_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_MAX_COLUMNS", 2)
    monkeypatch.setattr(cells, "_columns", OrderedDict())
    paths = [write(tmp_path / f"{number}.parquet", [b"%d" % number]) for number in range(4)]
    for path in [*paths, *paths]:
        assert cell(path, 0) == path.stem.encode()
    assert len(cells._columns) <= 2
