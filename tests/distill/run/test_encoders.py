"""The encoder that a command runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.run.encoders import choose_device, encoder_of, introduction
from tests.own_parts import Loudness


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": None, "model": None}, "an encoder is required: either --teacher NAME or --model RUN"),
        ({"teacher": "mel", "model": "runs/first"}, "an encoder is required: either --teacher NAME or --model RUN"),
        ({"teacher": "mel", "model": None, "untrained": True}, "--untrained requires --model RUN"),
    ],
)
def test_exactly_one_encoder_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        encoder_of(**options)


def test_an_introduction_names_the_encoder_and_what_it_gives() -> None:
    assert introduction(distill.create_teacher("spectral")).startswith("teacher: spectral, 0 parameters, 16000 Hz")
    own = introduction(distill.create_teacher(Loudness))
    assert "licence: " in own
    assert "layers" not in own


def test_a_device_is_chosen_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device cuda:1: this machine has no CUDA device"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
