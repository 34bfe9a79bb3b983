"""Check that the files of a list lie in a folder, after links are resolved."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FEW = 32  # files of one folder that are looked at one by one; of more, the folder is listed once
_MAX_FOLDERS = 200_000  # resolved folders in memory
_MAX_LINKS = 100_000  # names of links of one folder in memory
_MAX_DEPTH = 200  # folders below each other that are looked at one by one
_NO_NAMES = ("", os.curdir, os.pardir)
_HUB = ("datasets--", "models--", "spaces--")  # begin the folder of a repository in a hub cache


@dataclass
class _Resolved:
    """A folder whose links are resolved.

    Args:
        real: Its real path.
        exists: Whether it exists.
        looked_at: Number of its files that were looked at.
        is_listed: Whether its links were listed.
        links: Names of the links in it. None: unknown.
    """

    real: str
    exists: bool
    looked_at: int = 0
    is_listed: bool = False
    links: frozenset[str] | None = None


class Folder:
    """A folder that files must lie in after links are resolved. Files and folders need not exist.

    In the snapshot of a hub cache, links to the blobs of the same repository are inside.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._allowed = _allowed(os.path.realpath(root))
        self._resolved: dict[str, _Resolved] = {}

    def outside(self, names: Sequence[str]) -> list[int]:
        """Return the places of the names that lie outside.

        Args:
            names: Paths with "/", relative to the folder or absolute.
        """
        if len(self._resolved) > _MAX_FOLDERS:
            self._resolved.clear()
        parents = [name[: name.rfind("/") + 1] for name in names]
        inside, suspicious = set(), set()
        for parent, files in Counter(parents).items():
            if self._holds_no_links(parent, files):
                inside.add(parent)
            else:
                suspicious.add(parent)
        if not suspicious and not any(name.endswith("..") for name in names if ".." in name):
            return []
        return [
            place
            for place, (name, parent) in enumerate(zip(names, parents, strict=True))
            if (parent in suspicious or name.endswith("..")) and not self._contains(name)
        ]

    def _holds_no_links(self, parent: str, files: int) -> bool:
        """Return whether all files of a folder are certainly inside."""
        folder = self._resolve(os.path.join(self._root, parent))
        if not self._is_allowed(folder.real):
            return False
        if not folder.exists:
            return True
        folder.looked_at += files
        if not folder.is_listed and folder.looked_at > _FEW:
            folder.is_listed, folder.links = True, _links_in(folder.real)
        return folder.links is not None and not folder.links

    def _contains(self, name: str) -> bool:
        """Return whether one file is inside."""
        path = os.path.join(self._root, name)
        parent, base = os.path.split(path)
        folder = self._resolve(parent)
        is_link = os.path.islink(path) if folder.links is None else base in folder.links
        if is_link or base in _NO_NAMES:
            return self._is_allowed(os.path.realpath(path))
        return self._is_allowed(os.path.join(folder.real, base))

    def _resolve(self, path: str) -> _Resolved:
        """Return a folder with its real path. Each folder above is looked at once."""
        path = path.rstrip("/") or "/"
        if (found := self._resolved.get(path)) is None:
            found = self._resolved[path] = self._look_up(path)
        return found

    def _look_up(self, path: str) -> _Resolved:
        above, base = os.path.split(path)
        try:
            mode = os.lstat(path).st_mode
        except (OSError, ValueError):
            mode = 0
        if base in _NO_NAMES or not above or stat.S_ISLNK(mode) or path.count("/") > _MAX_DEPTH:
            return _Resolved(os.path.realpath(path), os.path.isdir(path))
        return _Resolved(os.path.join(self._resolve(above).real, base), stat.S_ISDIR(mode))

    def _is_allowed(self, real: str) -> bool:
        return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in self._allowed)


def _links_in(folder: str) -> frozenset[str] | None:
    """Return the names of the links in a folder. None if there are too many, or it cannot be listed."""
    links = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.add(entry.name)
                    if len(links) > _MAX_LINKS:
                        return None
    except OSError:
        return None
    return frozenset(links)


def _allowed(root: str) -> tuple[str, ...]:
    """Return the folders in which files may lie: the root, and for a snapshot of a hub cache its blobs."""
    parts = Path(root).parts
    for place in range(len(parts) - 2):
        if parts[place].startswith(_HUB) and parts[place + 1] == "snapshots":
            return root, os.path.realpath(Path(*parts[: place + 1], "blobs"))
    return (root,)
