"""`distill search`: the nearest clips to a sound or a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from tests.distill.commands.test_fit import fit
from tests.own_parts import Loudness

NAME = "tests.distill.commands.test_search.Described"


class Described(Loudness):
    """A teacher with a text tower: "low" and "high" are the embeddings of such tones."""

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        times = torch.arange(8_000) / 16_000
        tones = [0.3 * torch.sin(2 * torch.pi * {"low": 300, "high": 600}[text] * times) for text in texts]
        return self.embed(torch.stack(tones), 16_000).clip


@pytest.fixture
def data(sounds: Callable[..., Path]) -> Path:
    return sounds(12)


@pytest.fixture
def store(data: Path, tmp_path: Path) -> str:
    distill.embed(str(data), str(tmp_path / "store"), teacher=NAME, dtype="float32", workers=0)
    return str(tmp_path / "store")


def test_a_sound_finds_itself_first(data: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--teacher", NAME, "--store", store, "--count", "3"]
    for query in sorted(data.rglob("*.wav"))[:4]:
        main(["search", *words, str(query)])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert lines[0].split() == ["1.000", query.relative_to(data).as_posix()]


def test_a_text_finds_the_sounds_by_their_cosine(store: str) -> None:
    rows = EmbeddingStore(store)
    for text in ("low", "high"):
        matches = distill.search(text, store, teacher=NAME, count=4)
        vector = distill.create_teacher(NAME).embed_texts([text])
        cosines = torch.cosine_similarity(vector, torch.from_numpy(rows.read_all())).tolist()
        expected = sorted(zip(cosines, rows.ids, strict=True), key=lambda pair: -pair[0])[:4]
        assert [match.cosine for match in matches] == pytest.approx([cosine for cosine, _ in expected], abs=1e-5)


def test_a_student_searches_an_index_of_its_teacher(data: Path, store: str, tmp_path: Path) -> None:
    fit(data, tmp_path / "run", teacher=NAME, epochs=2, validation=0)
    run = str(tmp_path / "run")
    query = str(next(data.rglob("*.wav")))
    by_size = distill.search(query, store, model=run)  # 3 numbers: only the space of the teacher has this size
    assert by_size == distill.search(query, store, model=run, space="Described")
    assert len(by_size) == 10
    assert distill.search("low", store, model=run) == distill.search("low", store, teacher=NAME)


def test_what_cannot_be_searched_is_one_line(data: Path, store: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Loudness has no text tower"):
        distill.search("rain", store, teacher="tests.own_parts.Loudness")
    with pytest.raises(UserError, match=r"absent\.wav: no such file"):
        distill.search("absent.wav", store, teacher="tests.own_parts.Loudness")
    with pytest.raises(UserError, match="--query  : no such file"):
        distill.search(" ", store, teacher="tests.own_parts.Loudness")
    with pytest.raises(UserError, match="either --teacher NAME or --model RUN"):
        distill.search("rain", store)
    with pytest.raises(UserError, match="--count 0"):
        distill.search("rain", store, teacher=NAME, count=0)
    with pytest.raises(UserError, match="3 numbers, the query has 5"):
        distill.search(
            str(next(data.rglob("*.wav"))),
            store,
            teacher={"class_path": "tests.own_parts.Loudness", "init_args": {"bands": 5}},
        )
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"broken\.wav"):
        distill.search(str(tmp_path / "broken.wav"), store, teacher="tests.own_parts.Loudness")
