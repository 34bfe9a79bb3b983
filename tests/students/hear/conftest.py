"""HEAR with the golden weights."""

from __future__ import annotations

import pytest

from distill.students.hear.classifier import HearClassifier
from distill.students.hear.students import HearTokenizer
from tests.students.hear.golden import (
    OVERLAP,
    TINY,
)


@pytest.fixture(scope="module")
def classifier() -> HearClassifier:
    """Return the whole of HEAR with the golden weights."""
    file = str(TINY / "hear.state_dict.safetensors")
    return HearClassifier(checkpoint=file, overlap=OVERLAP, official=True).eval()


@pytest.fixture(scope="module")
def tokenizer() -> HearTokenizer:
    """Return the tokenizer with the golden weights."""
    file = str(TINY / "tokenizer_framework.state_dict.safetensors")
    return HearTokenizer(checkpoint=file, overlap=OVERLAP, official=True).eval()
