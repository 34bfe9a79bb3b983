"""CLAP's text tower, through transformers: texts in the space of the audio tower's projected embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.data.errors import UserError, first_line
from distill.teachers.pretrained import import_transformers, load_pretrained


def embed_texts(checkpoint: str, revision: str | None, texts: Sequence[str]) -> Tensor:
    """Embed texts with the text tower of a CLAP checkpoint.

    Args:
        checkpoint: Folder with config.json, model.safetensors and the files of the tokenizer, or a hub id.
        revision: Commit of the hub id. None takes the newest.
        texts: The texts. Longer ones than the network takes are cut.

    Returns:
        Shape (texts, dim), float32, as the projected embeddings of sounds.

    Raises:
        UserError: the checkpoint has no text tower or no tokenizer.
    """
    transformers = import_transformers()
    model_class = transformers.ClapTextModelWithProjection
    loaded = load_pretrained(model_class, checkpoint, revision, ("clap", "clap_text_model"), part="text_config")
    tokenizer = _tokenizer(transformers, checkpoint, revision)
    longest = int(loaded.model.config.max_position_embeddings) - 2  # RoBERTa counts positions from 2
    inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        embedded: Tensor = loaded.model.eval()(**inputs).text_embeds
    return embedded.float()


def _tokenizer(transformers: Any, checkpoint: str, revision: str | None) -> Any:
    """Return the tokenizer of a checkpoint. Raise UserError if its files are missing."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, revision=revision, trust_remote_code=False)
        # Without its files, transformers returns a tokenizer to which every word is unknown.
        fault = "" if len(tokenizer) > len(set(tokenizer.all_special_tokens)) else "it knows no word"
    except Exception as error:  # transformers and tokenizers raise different classes
        fault = first_line(error)
    if fault:
        raise UserError(
            f"--teacher.checkpoint {checkpoint}: its tokenizer cannot be used ({fault}); texts need tokenizer.json, or "
            "vocab.json and merges.txt, beside the weights"
        )
    return tokenizer
