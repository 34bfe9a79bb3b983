"""A tiny CLAP in the layout of the hub, with its text tower."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.conftest import GOLDEN

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "r", "a", "i", "n", "o", "Ġ", "ra", "in", "rain", "Ġo", "Ġon"]


def write_clap(folder: Path) -> None:
    """Write a whole CLAP with a small text tower, random weights and a small tokenizer."""
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

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
