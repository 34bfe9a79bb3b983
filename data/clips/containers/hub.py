"""Data sets of the Hugging Face hub: `hf://ORG/NAME` is downloaded, then read like a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from distill.data.audio.formats import AUDIO_SUFFIXES
from distill.data.errors import UserError, first_line

SCHEME = "hf://"
_LIST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".cls", ".label", ".md")
_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"hf://(?:datasets/)?(?P<name>(?!(?:datasets|models|spaces)/){_NAME}/{_NAME})"
    r"(?:@(?P<early>refs/(?:convert|pr)/[^/@]+|[^/@]+))?(?P<path>(?:/[^@]*)?)(?:@(?P<late>[^@]+))?"
)


@dataclass(frozen=True)
class HubAddress:
    """A data set of the hub, or a part of it.

    Args:
        name: ORG/NAME.
        path: Folder or file in it. Empty: all of it.
        revision: Branch, tag or commit. None: the newest.
    """

    name: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """Read `hf://ORG/NAME`, `hf://datasets/ORG/NAME/PATH`, with `@REVISION` after the name or at the end.

        The revision `~parquet` is the hub's own conversion of a data set to Parquet.

        Raises:
            UserError: the address has another form.
        """
        match = _ADDRESS.fullmatch(text)
        parts = match["path"].strip("/").split("/") if match else []
        if match is None or (match["early"] and match["late"]) or ".." in parts:
            raise UserError(f"--data {text}: must be hf://ORG/NAME or hf://datasets/ORG/NAME/PATH@REVISION")
        revision = match["early"] or match["late"]
        revision = "refs/convert/parquet" if revision == "~parquet" else revision and revision.replace("%2F", "/")
        return cls(match["name"], "/".join(filter(None, parts)), revision)


def download(text: str, holds_sounds: Callable[[Path], bool]) -> Path:
    """Download a data set of the hub into the hub's cache, and return its folder or file there.

    Its Parquet files are enough if they hold the sounds. Otherwise audio files, tars and lists are downloaded too.

    Args:
        text: The address, as `HubAddress.parse` reads it.
        holds_sounds: Whether a Parquet file holds sounds and not only their names.

    Raises:
        UserError: the address is wrong, or the data set cannot be downloaded.
    """
    address = HubAddress.parse(text)
    if address.path.endswith((".parquet", ".tar")):
        return _snapshot(address, [address.path]) / address.path
    # A list needs the files beside it.
    folder = address.path.rpartition("/")[0] if address.path.endswith(_LIST_SUFFIXES) else address.path
    prefix = f"{folder}/" if folder else ""
    snapshot = _snapshot(address, [f"{prefix}*.parquet", "README.md"])
    files = sorted((snapshot / folder).rglob("*.parquet"))
    if folder != address.path or not any(holds_sounds(file) for file in files[:1]):
        suffixes = (*AUDIO_SUFFIXES, *(suffix.upper() for suffix in AUDIO_SUFFIXES), ".tar", *_LIST_SUFFIXES)
        snapshot = _snapshot(address, [f"{prefix}*.parquet", "README.md", *(f"{prefix}*{end}" for end in suffixes)])
    if not (snapshot / address.path).exists():
        raise UserError(f"--data {text}: the data set has no {address.path}")
    return snapshot / address.path


def _snapshot(address: HubAddress, patterns: Iterable[str]) -> Path:
    """Download the files of a data set whose paths fit one of the patterns."""
    import huggingface_hub

    try:
        path = huggingface_hub.snapshot_download(
            address.name, repo_type="dataset", revision=address.revision, allow_patterns=list(patterns)
        )
    except Exception as error:  # its classes have no common base, and change with the version
        revision = f" at revision {address.revision}" if address.revision else ""
        raise UserError(f"--data hf://{address.name}{revision}: {first_line(error)}") from error
    return Path(str(path))
