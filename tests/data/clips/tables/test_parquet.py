"""Tables in Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.data.clips.sources import read_manifest
from distill.data.clips.tables import parquet as reader
from distill.data.errors import UserError
from tests.data.clips.written import parquet

pyarrow: Any = pytest.importorskip("pyarrow")


def test_only_the_path_of_a_mapping_is_read(tmp_path: Path) -> None:
    audio = [{"bytes": None, "path": f"audio/{clip}.wav"} for clip in range(4)]
    rows = read_manifest(parquet(tmp_path, {"audio": audio, "label": list("abab"), "extra": [0] * 4})).rows
    assert [row.id for row in rows] == [f"audio/{clip}.wav" for clip in range(4)]
    assert [row.labels for row in rows] == [("a",), ("b",)] * 2


def test_domains_are_read_and_missing_ones_are_unknown(tmp_path: Path) -> None:
    rows = read_manifest(parquet(tmp_path, {"path": ["a.wav", "b.wav", "c.wav"], "domain": ["x", None, " y "]})).rows
    assert [row.domain for row in rows] == ["x", "", "y"]


def test_paths_as_bytes_are_paths(tmp_path: Path) -> None:
    assert [row.id for row in read_manifest(parquet(tmp_path, {"path": [b"a.wav", b"caf\xe9.wav"]})).rows] == [
        "a.wav",
        "caf\udce9.wav",
    ]


@pytest.mark.parametrize("is_list", [False, True])
def test_numbers_of_classes_of_a_hub_data_set_become_names(is_list: bool, tmp_path: Path) -> None:
    import pyarrow.parquet

    feature: Any = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    values = [[1], [0, 1], [], None] if is_list else [1, 0, -1, None]
    info = {"info": {"features": {"label": {"feature": feature, "_type": "List"} if is_list else feature}}}
    data = pyarrow.table({"file": ["a", "b", "c", "d"], "label": values})
    pyarrow.parquet.write_table(data.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet")
    labels = [row.labels for row in read_manifest(tmp_path / "t.parquet").rows]
    assert labels == ([("dog",), ("cat", "dog"), (), ()] if is_list else [("dog",), ("cat",), (), ()])


@pytest.mark.parametrize("metadata", ["{", "[]", '{"info": 3}', '{"info": {"features": {"label": [], "x": [[]]}}}'])
def test_wrong_metadata_of_a_hub_is_not_used(metadata: str, tmp_path: Path) -> None:
    import pyarrow.parquet

    data = pyarrow.table({"file": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": metadata})
    pyarrow.parquet.write_table(data, tmp_path / "t.parquet")
    assert read_manifest(tmp_path / "t.parquet").classes == ("1",)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"path": [f"{number}.wav" for number in range(5000)]})
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * 300 + content[500:])
    with pytest.raises(UserError, match=r"clips.parquet"):
        read_manifest(path)
    path.write_bytes(content[:-20] + b"\xee" * 12 + content[-8:])
    with pytest.raises(UserError, match=r"clips.parquet"):
        read_manifest(path)
    path.write_bytes(content[:-100])
    with pytest.raises(UserError, match="cut off"):
        read_manifest(path)


@pytest.mark.parametrize("values", [["x" * 3_000_000], ["x" * 3_000_000] * 3000])
def test_long_values_are_refused_before_they_take_memory(values: list[str], tmp_path: Path) -> None:
    import pyarrow.parquet

    repeated = pyarrow.DictionaryArray.from_arrays([0] * len(values), values[:1])
    pyarrow.parquet.write_table(pyarrow.table({"path": repeated}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match=r"values of 3,000,0.. bytes"):
        read_manifest(tmp_path / "t.parquet")


def test_chunks_of_longer_values_have_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 5000)
    labels = ["x" * 1000, "y" * 1000]
    path = parquet(tmp_path, {"path": [f"{number}.wav" for number in range(20)], "label": labels * 10})
    table = reader.open_parquet(path)
    sizes = [len(chunk.lines) for chunk in table.chunks(["path", "label"])]
    assert (max(sizes), sum(sizes)) == (5, 20)
    assert [row.labels for row in read_manifest(path).rows] == [(label,) for label in labels * 10]


def test_columns_that_are_lists_dates_and_dictionaries(tmp_path: Path) -> None:
    import datetime

    columns = {
        "file": ["a", "b"],
        "labels": [["x", "y"], []],
        "start": [0.5, None],
        "fold": [1, 2],
        "date": [datetime.datetime(2020, 1, 1)] * 2,
    }
    rows = read_manifest(parquet(tmp_path, columns)).rows
    assert [(row.labels, row.start, row.split) for row in rows] == [(("x", "y"), 0.5, "1"), ((), 0.0, "2")]
    with pytest.raises(UserError, match="not a number of seconds"):
        read_manifest(parquet(tmp_path, {"file": ["a"], "start": [datetime.datetime(2020, 1, 1)]}))
