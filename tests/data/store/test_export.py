"""A store as Parquet or .npz, for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.data.store import export
from distill.data.store.export import check_export, export_store
from distill.data.store.format import SetAside
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import readable_id
from distill.data.store.writer import StoreWriter

IDS = [f"clip {row}.wav" for row in range(6)] + ["caf\udce9.wav", "ü/日本.wav"]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Eight clips in three shards; one is set aside, and one name is not UTF-8."""
    writer = StoreWriter(tmp_path / "s", IDS, 5, {}, rows_per_shard=3, origin={"licence": "MIT"})
    random = np.random.default_rng(0)
    for shard in range(writer.shard_count):
        ids = [IDS[row] for row in writer.rows(shard) if row != 4]
        vectors = {clip_id: random.standard_normal(5).astype(np.float32) for clip_id in ids}
        writer.write(shard, vectors, [SetAside(IDS[4], "malformed", "")] if shard == 1 else [])
    return EmbeddingStore(tmp_path / "s")


def test_npz_has_ids_and_embeddings_without_pickles(store: EmbeddingStore, tmp_path: Path) -> None:
    export_store(store, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == list(store.ids)
        assert arrays["embeddings"].dtype == np.float32
        assert np.array_equal(arrays["embeddings"], store.read_all())


def test_parquet_has_a_column_of_ids_and_one_of_lists(store: EmbeddingStore, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    export_store(store, tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.schema.field("id").type == pyarrow.string()
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 5)
    assert table["id"].to_pylist() == [readable_id(clip_id) for clip_id in store.ids]
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), store.read_all())
    assert json.loads(table.schema.metadata[b"distill"])["origin"] == {"licence": "MIT"}
    assert parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3  # one shard is in memory at a time


def test_an_id_becomes_valid_unicode() -> None:
    assert [readable_id(clip_id) for clip_id in IDS[5:]] == ["clip 5.wav", "caf\\xe9.wav", "ü/日本.wav"]


def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in (("x.csv", r"must end in \.parquet or \.npz"), ("no/x.npz", "is not a folder")):
        with pytest.raises(UserError, match=message):
            check_export(tmp_path / name)
    check_export(tmp_path / "X.NPZ")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'audio-distill\[parquet\]'"):
        check_export(tmp_path / "x.parquet")


def test_a_full_disk_leaves_no_part_of_a_file(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.npz").write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_npz", full)
    with pytest.raises(OSError, match="No space left"):
        export_store(store, tmp_path / "x.npz")
    assert (tmp_path / "x.npz").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "x.npz"]
