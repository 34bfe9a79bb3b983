"""Runs, stores, students and config files of an earlier commit still load (README.md beside this file)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import distill
import tests.own_parts as own_parts  # the old config files name its classes
from distill.cli.shell import main
from distill.data.store.reader import EmbeddingStore
from tests.yesterday.sounds import write_sounds

FILES = Path(__file__).with_name("files")
CONFIGS = sorted(path.stem for path in (FILES / "configs").glob("*.yaml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files beside their sounds; the old files name each other by paths relative to it."""
    shutil.copytree(FILES, tmp_path / "old")
    write_sounds(tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[np.float32]]:
    with np.load(FILES / "expected.npz") as numbers:
        return dict(numbers)


def written(folder: Path) -> dict[str, int]:
    """When each file was written, in nanoseconds; a copy keeps the time of its file."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


@pytest.mark.parametrize("store", ["store", "store_frames"])
def test_a_store_has_its_rows(store: str, expected: dict[str, NDArray[np.float32]]) -> None:
    opened = EmbeddingStore(FILES / store)
    opened.verify()
    np.testing.assert_array_equal(opened.read_all(), expected[store])


def test_a_store_has_its_frames(expected: dict[str, NDArray[np.float32]]) -> None:
    opened = EmbeddingStore(FILES / "store_frames")
    np.testing.assert_array_equal(np.concatenate(opened.frames(opened.ids)), expected["frames"])
    np.testing.assert_array_equal(opened.frame_times, expected["frame_times"])


@pytest.mark.parametrize("store", ["store", "store_frames"])
def test_a_store_is_complete_and_nothing_is_embedded_again(store: str, folder: Path) -> None:
    before = written(folder / store)
    main(["embed", "--teacher", "spectral", "--data", "sounds", "--out", store, "--workers=0",
          f"--frames={str(store == 'store_frames').lower()}"])  # fmt: skip
    after = written(folder / store)
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"00000.stamps"}  # the states of the files, so that changes are found


@pytest.mark.parametrize("store", ["store", "store_frames"])
def test_a_store_is_brought_up_to_date(
    store: str, folder: Path, expected: dict[str, NDArray[np.float32]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = EmbeddingStore(folder / store)
    words = ["embed", "--teacher=spectral", "--data=sounds", f"--out={store}", "--workers=0",
             f"--frames={str(store == 'store_frames').lower()}"]  # fmt: skip
    main(words)  # from here on, the states of the files are known
    changed, gone, *_ = before.ids
    (folder / "sounds" / gone).unlink()
    shutil.copy(folder / "sounds" / before.ids[5], folder / "sounds" / "zz_new.wav")
    shutil.copy(folder / "sounds" / before.ids[6], folder / "sounds" / changed)
    main(words)
    assert f"1 new, 1 changed, 1 removed, {len(before) - 2} unchanged" in capsys.readouterr().out
    after = EmbeddingStore(folder / store)
    after.verify()
    assert after.ids == [changed, *before.ids[2:], "zz_new.wav"]
    kept = after[before.ids[2:]]
    np.testing.assert_array_equal(kept, expected[store][2:])
    np.testing.assert_allclose(after[[changed, "zz_new.wav"]], expected[store][[6, 5]], atol=1e-2)


def test_a_store_that_is_not_complete_is_continued(folder: Path, expected: dict[str, NDArray[np.float32]]) -> None:
    (folder / "store" / "00000.json").unlink()  # as after a kill
    main(["embed", "--teacher=spectral", "--data=sounds", "--out=store", "--workers=0"])
    np.testing.assert_allclose(EmbeddingStore(folder / "store").read_all(), expected["store"], atol=1e-2)


def test_a_stopped_run_goes_on_to_the_weights_of_the_whole_one(folder: Path) -> None:
    assert not (folder / "stopped" / "student").exists()
    student = distill.fit(out="stopped", resume=True)
    assert isinstance(student, own_parts.TinyConvolution)
    whole = load_file(folder / "whole" / "student" / "model.safetensors")
    torch.testing.assert_close(student.state_dict(), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.usefixtures("folder")
def test_a_config_file_builds(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", f"configs/{config}.yaml", "--dry_run", "--out", "dry"])
    assert re.search(r"about .* [23] steps in 1 epochs", capsys.readouterr().out)


@pytest.mark.parametrize(("run", "name"), [("run", "mobilenet_v3"), ("run_tokenizer", "hear_tokenizer")])
def test_a_student_gives_its_embeddings(run: str, name: str, expected: dict[str, NDArray[np.float32]]) -> None:
    student = distill.load(str(FILES / run))
    embeddings = student.embed(torch.from_numpy(expected["waveform"]), 16_000)
    found = embeddings.clip if name == "mobilenet_v3" else embeddings.frames
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("folder")
def test_a_probe_is_compared() -> None:
    distill.report(compare=["probe"], out="comparison")
    assert "| probe | 0.4000" in Path("comparison/comparison.md").read_text()


def test_a_clustering_is_used_again(folder: Path) -> None:
    before = written(folder / "store" / "clusters")
    clustering = distill.cluster("store", clusters=2)
    assert clustering.labels.tolist() == np.load(FILES / "store" / "clusters" / "labels.npy").tolist()
    assert before.items() <= written(folder / "store" / "clusters").items()
