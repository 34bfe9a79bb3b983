"""CLAP's text tower against that of transformers' whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.data.errors import UserError
from distill.teachers.clap import CLAP
from tests.conftest import GOLDEN
from tests.teachers.clap_files import write_clap

TEXTS = ["rain", "rain on", "a rain on rain " * 40]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clap")
    write_clap(folder)
    return folder


def test_texts_have_the_embeddings_of_the_whole_model(checkpoint: Path) -> None:
    from transformers import AutoTokenizer, ClapModel

    model, tokenizer = ClapModel.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)
    embedded = CLAP(str(checkpoint)).embed_texts(TEXTS)
    assert embedded.shape == (3, 8)
    for text, row in zip(TEXTS, embedded, strict=True):
        inputs = tokenizer([text], truncation=True, max_length=28, return_tensors="pt")
        with torch.no_grad():
            whole = model.text_projection(model.text_model(**inputs).pooler_output)[0]
        torch.testing.assert_close(row, whole, atol=1e-5, rtol=1e-5)


def test_texts_lie_in_the_space_of_the_sounds(checkpoint: Path) -> None:
    teacher = CLAP(str(checkpoint))
    assert teacher.embed(torch.randn(48_000) * 0.1, 48_000).clip.shape[1] == teacher.embed_texts(["rain"]).shape[1]


def test_what_cannot_embed_texts_is_one_line(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="only projected"):
        CLAP(str(checkpoint), embedding="pooled").embed_texts(["rain"])
    without_words = str(GOLDEN / "clap" / "clap_tiny_unfused")  # it has weights of a text tower, and no tokenizer
    with pytest.raises(UserError, match=r"knows no word.*tokenizer\.json") as caught:
        CLAP(without_words).embed_texts(["rain"])
    assert "\n" not in str(caught.value)
    (checkpoint / "vocab.json").write_text("no JSON")
    with pytest.raises(UserError, match=r"tokenizer\.json") as caught:
        CLAP(str(checkpoint)).embed_texts(["rain"])
    assert "\n" not in str(caught.value)
