"""Addresses of the hub, and which files of a data set are downloaded. No test reaches the hub."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

from distill.data.clips.containers.hub import HubAddress, download
from distill.data.errors import UserError

ADDRESSES = {
    "hf://org/name": HubAddress("org/name"),
    "hf://datasets/org/name": HubAddress("org/name"),
    "hf://org/name/": HubAddress("org/name"),
    "hf://datasets/org/na.me-1/data/en": HubAddress("org/na.me-1", "data/en"),
    "hf://datasets/org/name/data/a.parquet@v1.0": HubAddress("org/name", "data/a.parquet", "v1.0"),
    "hf://org/name@abc123/data": HubAddress("org/name", "data", "abc123"),
    "hf://org/name@~parquet": HubAddress("org/name", "", "refs/convert/parquet"),
    "hf://org/name@refs/convert/parquet/default/train": HubAddress("org/name", "default/train", "refs/convert/parquet"),
    "hf://org/name@refs%2Fpr%2F3/data": HubAddress("org/name", "data", "refs/pr/3"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_has_a_name_a_path_and_a_revision(text: str) -> None:
    assert HubAddress.parse(text) == ADDRESSES[text]


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://name",
        "hf://datasets/name",
        "hf://org/name@a/b@c",
        "hf://org/name/../x",
        "hf://../name",
        "hf:/org/name",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^--data .*: must be hf://ORG/NAME or"):
        HubAddress.parse(text)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of the data set on the hub. Calls download those that fit the patterns."""
    files: list[str] = []

    def snapshot_download(name: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert (name, repo_type) == ("org/name", "dataset")
        if revision == "missing":
            raise OSError("404: no such revision\nmore lines")
        for file in files:
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / file).write_text("x")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return files


CASES = {
    "Parquet with sounds": (
        "",
        ["data/train-0.parquet", "README.md", "x.wav", "big.bin"],
        True,
        ["README.md", "data/train-0.parquet"],
    ),
    "Parquet with names": ("", ["meta.parquet", "a/1.WAV", "big.bin"], False, ["a/1.WAV", "meta.parquet"]),
    "audio": ("", ["a/1.flac", "metadata.csv", "big.bin"], True, ["a/1.flac", "metadata.csv"]),
    "tars": ("", ["t/0.tar", "big.bin"], True, ["t/0.tar"]),
    "a folder": ("/en", ["en/0.parquet", "de/0.parquet", "README.md"], True, ["README.md", "en/0.parquet"]),
    "a folder of audio": ("/en", ["en/0.wav", "de/0.wav"], True, ["en/0.wav"]),
    "a tar": ("/t/0.tar", ["t/0.tar", "t/1.tar"], True, ["t/0.tar"]),
    "a Parquet file": ("/0.parquet", ["0.parquet", "1.parquet"], True, ["0.parquet"]),
    "a list": ("/en/list.csv", ["en/list.csv", "en/a/1.wav", "de/1.wav"], True, ["en/a/1.wav", "en/list.csv"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_needed_is_downloaded(case: str, hub: list[str], tmp_path: Path) -> None:
    path, files, sounds, downloaded = CASES[case]
    hub.extend(files)
    assert download(f"hf://org/name{path}", lambda file: sounds) == tmp_path / path.strip("/")
    found = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file())
    assert found == downloaded


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://org/name@missing", "--data hf://org/name at revision missing: 404: no such revision"),
        ("hf://org/name/other", "--data hf://org/name/other: the data set has no other"),
    ],
)
def test_what_cannot_be_downloaded_is_said_in_one_line(address: str, message: str, hub: list[str]) -> None:
    hub.append("data/0.parquet")
    with pytest.raises(UserError) as error:
        download(address, lambda file: True)
    assert str(error.value) == message
