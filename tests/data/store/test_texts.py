"""Many texts in two arrays, against lists of `str`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from distill.data.store.texts import FewTexts, TextIndex, Texts, TextsBuilder

WORDS = ["a.wav", "", "ü/ä.wav", "b c.flac", "日本/1.ogg", "caf\udce9.wav", "a.wav2"]


def many(count: int) -> list[str]:
    return [f"folder {number % 7}/clip {number}.wav" for number in range(count)]


@pytest.mark.parametrize("words", [[], [""], WORDS, many(70_000)])
def test_texts_read_as_the_list_that_they_were_made_of(words: list[str]) -> None:
    texts = Texts.of(iter(words))
    assert len(texts) == len(words)
    assert list(texts) == words
    assert [texts[number] for number in range(0, len(words), 97)] == words[::97]
    assert texts == Texts.of(words)
    assert Texts.of(texts) is texts


def test_texts_are_equal_to_a_list_of_the_same() -> None:
    texts = Texts.of(WORDS)
    assert texts == WORDS == texts
    assert texts == tuple(WORDS)
    assert texts != WORDS[:-1]
    assert texts != [*WORDS[:-1], "x"]
    assert texts != "a.wav"


def test_texts_are_taken_by_number_and_by_slice() -> None:
    texts = Texts.of(WORDS)
    assert list(texts.take(np.array([5, 0, 0, 3]))) == [WORDS[5], WORDS[0], WORDS[0], WORDS[3]]
    assert list(texts[1:6:2]) == WORDS[1:6:2]
    assert list(texts.take(np.array([], np.int64))) == []
    assert [texts[-1], texts[-7]] == [WORDS[-1], WORDS[0]]
    assert texts != Texts.of(WORDS[:-1])


@pytest.mark.parametrize("place", [7, -8])
def test_a_place_outside_is_refused(place: int) -> None:
    with pytest.raises(IndexError, match="of 7"):
        Texts.of(WORDS)[place]


def test_a_million_texts_take_eight_bytes_more_than_their_content() -> None:
    texts = Texts.of(many(10_000))
    content = sum(len(word) for word in many(10_000))
    assert texts._data.nbytes + texts._ends.nbytes == content + 8 * 10_000
    assert sys.getsizeof("x") > 40


@pytest.mark.parametrize("words", [[], WORDS, many(5000)])
def test_an_index_finds_each_text_and_no_other(words: Sequence[str]) -> None:
    index = TextIndex(Texts.of(words))
    assert [index.find(word) for word in words] == list(range(len(words)))
    assert index.find("absent") is None
    assert ("absent" in index, 5 in index) == (False, False)
    assert index.find_all([*words[:3], "absent"]).tolist() == [*range(len(words[:3])), -1]
    assert index.repeated is None


def test_an_index_names_a_repeated_text() -> None:
    assert TextIndex(Texts.of([*many(300), "folder 1/clip 1.wav"])).repeated == 300


def test_texts_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.data.store.texts.hash", lambda text: 1, raising=False)
    index = TextIndex(Texts.of(WORDS))
    assert [index.find(word) for word in WORDS] == list(range(7))
    assert index.find_all(reversed(WORDS)).tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert index.repeated is None
    assert TextIndex(Texts.of([*WORDS, "b c.flac"])).repeated == 7
    of_one_length = TextIndex(Texts.of(["abc", "abd", "bbc"]))
    assert of_one_length.find_all(["bbc", "abd", "abx", "abc"]).tolist() == [2, 1, -1, 0]


@pytest.mark.parametrize("parts", [[], [[]], [WORDS[:3], [], WORDS[3:]], [many(5), ["ü"], many(3)]])
def test_texts_are_collected_in_parts(parts: list[list[str]]) -> None:
    builder = TextsBuilder()
    for part in parts:
        builder.extend(part)
    words = [word for part in parts for word in part]
    assert len(builder) == len(words)
    assert builder.build() == Texts.of(words)


def test_texts_that_occur_more_than_once_are_found_together(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["b", "a", "c", "a", "b", "d", "a"]
    assert sorted(TextIndex(Texts.of(words)).repeats()) == [[0, 4], [1, 3, 6]]
    assert list(TextIndex(Texts.of(WORDS)).repeats()) == []
    monkeypatch.setattr(
        "distill.data.store.texts.hash", lambda text: 7, raising=False
    )  # hashes of different texts can be equal
    assert sorted(TextIndex(Texts.of(words)).repeats()) == [[0, 4], [1, 3, 6]]


def test_few_texts_read_like_a_list() -> None:
    texts = FewTexts(["a.tar", "b.tar"], np.array([0, 1, 1, 0], np.int32))
    assert list(texts) == [texts[place] for place in range(4)] == ["a.tar", "b.tar", "b.tar", "a.tar"]
    assert list(texts[1:]) == list(texts.take(np.array([1, 2, 3]))) == ["b.tar", "b.tar", "a.tar"]
    assert texts[-2] == "b.tar"


def test_texts_are_joined_and_cut() -> None:
    parts = [Texts.of(["a", "", "é"]), Texts.of([]), Texts.of(["bc"])]
    joined = Texts.joined(parts)
    assert list(joined) == ["a", "", "é", "bc"]
    assert list(Texts.joined([])) == []
    for place in (slice(1, 3), slice(0, 0), slice(2, None), slice(None, None, -2), slice(3, 1), slice(-2, 9)):
        assert list(joined[place]) == list(joined)[place]
        assert list(joined[place].take(np.arange(len(joined[place])))) == list(joined)[place]
