"""A teacher with shuffled weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import distill
from tests.teachers import test_ast
from tests.teachers.tiny import TinyTeacher


def of_tiny_ast(folder: Path) -> dict[str, Any]:
    return {"encoder": {"class_path": "ast", "init_args": test_ast.TINY.options(folder)}}


TINY = TinyTeacher(options=of_tiny_ast)


def test_weights_keep_their_values_and_lose_their_places() -> None:
    trained, shuffled = distill.create_teacher("musicnn"), distill.create_teacher("randomised", encoder="musicnn")
    pairs = zip(trained.parameters(), shuffled.parameters(), strict=True)
    assert all(torch.equal(a.flatten().sort().values, b.flatten().sort().values) for a, b in pairs)
    waveform = torch.randn(2, 16_000) * 0.1
    ours, theirs = shuffled.embed(waveform, 16_000), trained.embed(waveform, 16_000)
    assert ours.clip.shape == theirs.clip.shape
    assert torch.cosine_similarity(ours.clip, theirs.clip).max() < 0.9
    assert ours.logits.shape == (2, 0)


def test_the_seed_decides_and_is_part_of_the_fingerprint() -> None:
    from distill.run.identity import identity

    teachers = [distill.create_teacher("randomised", encoder="musicnn", seed=seed) for seed in (0, 0, 1)]
    first, again, other = map(identity, teachers)
    assert first == again != other
