"""Many texts in little memory: the ids and paths of millions of clips."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16  # texts that are decoded together


class Texts(Sequence[str]):
    """An immutable list of texts in two arrays: their UTF-8, one after another, and where each ends.

    A text takes 8 bytes and its UTF-8, where a list of `str` takes about 60 bytes more. File names that are not UTF-8
    keep their bytes ("surrogateescape").

    Args:
        data: UTF-8 of all texts, uint8. Shape (bytes,).
        ends: End of each text in `data`, int64. Shape (texts,).
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._data, self._ends = data, ends

    @property
    def data(self) -> NDArray[np.uint8]:
        """UTF-8 of all texts. Shape (bytes,)."""
        return self._data

    @property
    def ends(self) -> NDArray[np.int64]:
        """End of each text in `data`. Shape (texts,)."""
        return self._ends

    @classmethod
    def joined(cls, several: Sequence[Texts]) -> Texts:
        """Return the texts of several lists, one list after another."""
        bytes_before = np.cumsum([0, *(len(texts.data) for texts in several)])
        ends = [texts.ends + before for texts, before in zip(several, bytes_before, strict=False)]
        data = [texts.data for texts in several]
        empty = cls(np.zeros(0, np.uint8), np.zeros(0, np.int64))
        return cls(np.concatenate(data), np.concatenate(ends)) if several else empty

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return texts from any iterable, which is read once."""
        if isinstance(texts, Texts):
            return texts
        data, ends = bytearray(), array("q")
        for text in texts:
            data += text.encode("utf-8", "surrogateescape")
            ends.append(len(data))
        return cls(np.frombuffer(data, np.uint8), np.frombuffer(ends, np.int64))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Texts: ...
    def __getitem__(self, place: int | slice) -> str | Texts:
        if isinstance(place, slice):
            first, last, step = place.indices(len(self))
            if step != 1 or last <= first:
                return self.take(np.arange(first, last, step))
            begin = self._ends[first - 1] if first else 0
            return Texts(self._data[begin : self._ends[last - 1]], self._ends[first:last] - begin)
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(f"text {place} of {len(self)}")
        first = self._ends[number - 1] if number else 0
        return self._data[first : self._ends[number]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for first in range(0, len(self), _BLOCK):
            ends = self._ends[first : first + _BLOCK]
            block = self._data[begin : ends[-1]].tobytes()
            place = 0
            for end in (ends - begin).tolist():
                yield block[place:end].decode("utf-8", "surrogateescape")
                place = end
            begin = int(ends[-1])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return np.array_equal(self._ends, other._ends) and np.array_equal(self._data, other._data)
        if isinstance(other, list | tuple):
            return len(self) == len(other) and all(mine == yours for mine, yours in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: NDArray[np.integer]) -> Texts:
        """Return the texts at `numbers`, in this order."""
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        starts = np.where(numbers > 0, self._ends[numbers - 1], 0)
        sizes = self._ends[numbers] - starts
        ends = np.cumsum(sizes, dtype=np.int64)
        data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        for first in range(0, len(ends), _BLOCK):  # an index of every byte at once takes eight times the texts
            part = slice(first, first + _BLOCK)
            begin, end = int(ends[first] - sizes[first]), int(ends[part][-1])
            # Each byte comes from its text's start, plus its place in the text.
            source = np.arange(end - begin) + np.repeat(starts[part] - (ends[part] - sizes[part] - begin), sizes[part])
            data[begin:end] = self._data[source]
        return Texts(data, ends)


class FewTexts(Sequence[str]):
    """An immutable list of texts of which few differ, such as the containers of many clips. A text takes 4 bytes.

    Args:
        values: The different texts.
        codes: Place in `values` of each text, int32. Shape (texts,).
    """

    def __init__(self, values: Sequence[str], codes: NDArray[np.int32]) -> None:
        self.values = values if isinstance(values, Texts) else tuple(values)
        self.codes = codes

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> FewTexts: ...
    def __getitem__(self, place: int | slice) -> str | FewTexts:
        if isinstance(place, slice):
            return FewTexts(self.values, self.codes[place])
        return self.values[self.codes[place]]

    def __iter__(self) -> Iterator[str]:
        return (self.values[code] for code in self.codes)

    def take(self, numbers: NDArray[np.integer]) -> FewTexts:
        """Return the texts at `numbers`, in this order."""
        return FewTexts(self.values, self.codes[numbers])


class TextsBuilder:
    """Texts that are collected in parts."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts at the end."""
        joined, begin = "".join(texts), len(self._data)
        if joined.isascii():
            self._data += joined.encode()
            sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        else:
            encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
            self._data += b"".join(encoded)
            sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._ends.frombytes((begin + np.cumsum(sizes, dtype=np.int64)).tobytes())

    def build(self) -> Texts:
        """Return the texts. The builder must not be extended any more."""
        return Texts(np.frombuffer(self._data, np.uint8), np.frombuffer(self._ends, np.int64))


class TextIndex:
    """Find the number of a text among many.

    Args:
        texts: The texts. They should differ; of equal ones, any is found.

    Attributes:
        repeated: Number of a text that is equal to another one. None: all differ.
    """

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self.repeated = self._find_repeated()

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.find(text) is not None

    def find(self, text: str) -> int | None:
        """Return the number of a text. None if it is not among the texts."""
        place = int(np.searchsorted(self._hashes, wanted := hash(text)))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            if self._texts[number := int(self._order[place])] == text:
                return number
            place += 1
        return None

    def find_all(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each text, int64; -1 for a text that is not among the texts."""
        wanted = Texts.of(texts)
        numbers = np.full(len(wanted), -1, np.int64)
        for first in range(0, len(wanted) if len(self._texts) else 0, _BLOCK):
            block = wanted[first : first + _BLOCK]
            hashes = np.fromiter(map(hash, block), np.int64, len(block))
            places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
            known = np.flatnonzero(self._hashes[places] == hashes)
            found = self._order[places[known]]
            same = _equal(block.take(known), self._texts.take(found))
            numbers[first + known[same]] = found[same]
            for row in known[~same].tolist():  # hashes of different texts can be equal
                number = self.find(block[row])
                numbers[first + row] = -1 if number is None else number
        return numbers

    def repeats(self) -> Iterator[list[int]]:
        """Yield the numbers of each text that occurs more than once, in ascending order."""
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        is_first, is_last = np.diff(same, prepend=-2) != 1, np.diff(same, append=-2) != 1
        for first, last in zip(same[is_first].tolist(), same[is_last].tolist(), strict=True):
            numbers: dict[str, list[int]] = {}
            for number in self._order[first : last + 2].tolist():
                numbers.setdefault(self._texts[number], []).append(number)
            yield from (equal for equal in numbers.values() if len(equal) > 1)

    def _find_repeated(self) -> int | None:
        for place in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]).tolist():
            last = int(self._order[place + 1])
            # Hashes of different texts can be equal, so the texts are compared.
            begin = int(np.searchsorted(self._hashes, self._hashes[place]))
            if any(self._texts[int(number)] == self._texts[last] for number in self._order[begin : place + 1]):
                return last
        return None


def _equal(texts: Texts, others: Texts) -> NDArray[np.bool_]:
    """Return whether each text is equal to the other one at its place. Shape (texts,)."""
    equal = np.diff(texts.ends, prepend=0) == np.diff(others.ends, prepend=0)
    compared = np.flatnonzero(equal)
    texts, others = texts.take(compared), others.take(compared)  # both are laid out equally now
    differences = np.concatenate([np.zeros(1, np.int64), np.cumsum(texts.data != others.data)])
    before = np.concatenate([np.zeros(1, np.int64), texts.ends[:-1]])[: len(texts)]
    equal[compared] = differences[texts.ends] == differences[before]
    return equal


def readable_id(clip_id: str) -> str:
    r"""Return an id as valid Unicode. A byte of a file name that is not UTF-8 becomes "\xe9"."""
    return clip_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
