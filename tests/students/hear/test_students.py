"""HEAR's acoustic model and tokenizer as students."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.students.hear.classifier import HearClassifier
from distill.students.hear.students import Hear, HearTokenizer
from tests.conftest import GOLDEN
from tests.students.hear.golden import (
    OVERLAP,
    TINY,
    inputs,
    outputs,
    waveform,
)
from tests.students.hear.tiny import SIZES

TINY_OPTIONS: dict[str, dict[str, Any]] = {"hear": SIZES, "hear_tokenizer": {**SIZES, "codes": 16}}


@pytest.mark.parametrize("name", ["short", "long"])
def test_acoustic_model(name: str, classifier: HearClassifier) -> None:
    student = Hear(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP, official=True).eval()
    batch = AudioBatch.of(waveform(f"wave_{name}"), 16_000, inputs()[f"len_{name}"])
    embeddings = student(batch)
    inside = embeddings.frame_mask
    assert inside.sum(1).equal(outputs()[f"ac.{name}.lengths"].long())
    expected = outputs()[f"ac.{name}.features"]
    torch.testing.assert_close(embeddings.frames[inside], expected[inside], atol=1e-4, rtol=1e-4)
    assert embeddings.frame_times[:2].tolist() == pytest.approx([0.005, 0.025])


def test_tokenizer(tokenizer: HearTokenizer) -> None:
    batch = AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"])
    tokens = tokenizer.tokens(batch)
    logits = tokenizer.logits(tokens)
    inside = torch.arange(logits.shape[1]) < tokens.lengths.unsqueeze(1)
    torch.testing.assert_close(logits[inside], outputs()["tok.logits"][inside], atol=1e-4, rtol=1e-4)
    assert tokenizer.tokenize(batch)[0][inside].equal(outputs()["tok.argmax"][inside])
    assert tokens.lengths.equal(outputs()["tok.lengths"].long())


def test_provenance_names_the_file_and_the_unused_keys(tokenizer: HearTokenizer) -> None:
    assert tokenizer.provenance is not None
    assert tokenizer.provenance.file.endswith("tokenizer_framework.state_dict.safetensors")
    assert all(not key.startswith("tokenizer.") for key in tokenizer.provenance.dropped)
    assert "vector_quantizer.code_book" in tokenizer.provenance.dropped


def test_tokens_do_not_change_the_lengths_of_the_batch(tokenizer: HearTokenizer) -> None:
    batch = AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"].clone())
    tokenizer.tokens(batch)
    assert batch.lengths.equal(inputs()["len_short"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hear", {"hidden": 10, "heads": 3}, "must be a multiple of --student.heads"),
        ("hear", {"overlap": 200}, "half of the window"),
        ("hear", {"checkpoint": str(GOLDEN / "ssast" / "ssast_tiny_frame.pth")}, "feature_extractor.conv.weight"),
        ("hear_classifier", {}, "classes: must be at least 1"),
        (
            "hear_classifier",
            {"checkpoint": str(TINY / "pretrain_framework.state_dict.safetensors")},
            "not the whole of HEAR",
        ),
        ("hear_tokenizer", {"checkpoint": str(TINY / "hear.state_dict.safetensors")}, "tokenizer"),
    ],
)
def test_invalid_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        distill.create_student(name, **options)


def test_a_clip_longer_than_a_minute_is_encoded_one_window_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    student = Hear(**SIZES).eval()
    waveform, lengths = torch.randn(2, 40_000) * 0.1, torch.tensor([40_000, 17_000])
    whole = student.embed(waveform, 16_000, lengths)
    monkeypatch.setattr("distill.students.hear.students._LONG", 1.0)
    parts = student.embed(waveform, 16_000, lengths)
    assert parts.frame_mask.equal(whole.frame_mask)
    torch.testing.assert_close(parts.clip, whole.clip, atol=1e-4, rtol=1e-4)


def test_a_stream_must_have_statistics() -> None:
    with pytest.raises(ValueError, match="statistics, or a reference"):
        Hear(**SIZES).stream()
