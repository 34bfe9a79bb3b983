from __future__ import annotations

import sys

import pytest

from distill.data.clips.progress import with_progress


def test_items_pass_with_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(iter("ab"), "read", "clip", total=2)) == ["a", "b"]
    assert "read: 100%" in capsys.readouterr().err


def test_without_tqdm_items_pass_without_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(with_progress("ab", "read", "clip")) == ["a", "b"]
    assert not capsys.readouterr().err
