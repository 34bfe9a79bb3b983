"""CLAP's text tower against that of transformers' whole model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distill.data.errors import UserError
from distill.teachers.clap import CLAP
from tests.conftest import GOLDEN

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "r", "a", "i", "n", "o", "Ġ", "ra", "in", "rain", "Ġo", "Ġon"]
TEXTS = ["rain", "rain on", "a rain on rain " * 40]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLAP with a small text tower, random weights and a small tokenizer."""
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

    folder = tmp_path_factory.mktemp("clap")
    audio = json.loads((GOLDEN / "clap" / "clap_tiny_unfused" / "config.json").read_text())
    text = ClapTextConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=30, projection_dim=8,
    )  # fmt: skip
    settings = audio.get("audio_config", audio) | {"projection_dim": 8}
    torch.manual_seed(0)
    config = ClapConfig(
        text_config=text.to_dict(), audio_config=ClapAudioConfig(**settings).to_dict(), projection_dim=8
    )
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor.from_pretrained(GOLDEN / "clap" / "clap_tiny_unfused").save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr a\ni n\nra in\nĠ o\nĠo n\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
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
