"""A file as a decoder should see it: some of its bytes replaced or left out, without a copy."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from distill.data.audio.parts import ReadAt
from distill.data.errors import AudioError

Piece = bytes | range
"""New bytes, or the range of the file's own bytes."""


class View(NamedTuple):
    """How a file should be read.

    Args:
        pieces: What the decoder should see. None: the file as it is.
        missing: What is lost at the end of the sound, for the reader of an error. None: nothing.
    """

    pieces: Sequence[Piece] | None = None
    missing: str | None = None


AS_IT_IS = View()
_MAX_KNOWN = 4096


class KnownViews:
    """The views of the last files that a process had to read as a whole."""

    def __init__(self) -> None:
        self._views: OrderedDict[object, View] = OrderedDict()

    def get(self, identity: object, make: Callable[[], View]) -> View:
        """Return the view of a file, which `make` makes if it is not known. Identity None: it is not remembered."""
        if identity is None:
            return make()
        if identity not in self._views:
            self._views[identity] = make()
            if len(self._views) > _MAX_KNOWN:
                self._views.popitem(last=False)
        return self._views[identity]


class Splice(io.RawIOBase):
    """Pieces of a file, and bytes between them, as one file that can be read and sought.

    Args:
        read_at: Reads the file.
        pieces: What the result consists of, in order.
    """

    def __init__(self, read_at: ReadAt, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._read_at, self._pieces = read_at, [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(len(piece) for piece in self._pieces))
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, which may lie behind the end, and return it."""
        size = self._ends[-1] if self._ends else 0
        self._position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence])
        return self._position

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer and return the number of bytes. A failed read looks like the end of the file."""
        done, wanted = 0, len(target)
        while done < wanted:
            number = bisect_right(self._ends, self._position)
            if number == len(self._ends):
                break
            content = self._read(number, wanted - done)
            if not content:
                break
            target[done : done + len(content)] = content
            done += len(content)
            self._position += len(content)
        return done

    def _read(self, number: int, size: int) -> bytes:
        piece = self._pieces[number]
        offset = self._position - (self._ends[number] - len(piece))
        if isinstance(piece, bytes):
            return piece[offset : offset + size]
        try:
            return self._read_at(piece.start + offset, min(size, len(piece) - offset))
        except (OSError, AudioError):  # libsndfile reads by a callback, from which no exception gets out
            return b""
