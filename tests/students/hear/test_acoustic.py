"""HEAR's acoustic model against the official code."""

from __future__ import annotations

import pytest
import torch

from distill.students.hear.acoustic import AcousticModel, AcousticSizes
from distill.students.hear.classifier import HearClassifier
from tests.students.hear.golden import (
    assert_close,
    inputs,
    outputs,
)


@pytest.mark.parametrize(("name", "frames"), [("edge", [222, 217, 122]), ("t60", [120, 118]), ("t61", [122, 120])])
def test_lengths_near_a_whole_number_of_windows(name: str, frames: list[int], classifier: HearClassifier) -> None:
    mel = inputs()["ac.edge.mel"][: len(frames), :, : max(frames)]
    lengths = torch.tensor(frames) // 2
    found = classifier.acoustic(classifier.acoustic.features(mel), lengths)
    inside = torch.arange(found.shape[1]) < lengths.unsqueeze(1)
    torch.testing.assert_close(found[inside], outputs()[f"ac.{name}.features"][inside], atol=1e-5, rtol=1e-4)


def test_taper(classifier: HearClassifier) -> None:
    assert_close(classifier.acoustic.taper, "ac.window", atol=1e-7)


def test_the_path_of_exported_graphs_equals_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AcousticModel(AcousticSizes(16, 32, 2, 1, 40), overlap=10, dropout=0.0).eval()
    features, lengths = torch.randn(3, 130, 16), torch.tensor([130, 65, 12])  # 65: five tokens in the third window
    expected = model(features, lengths)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = model(features, lengths)
    inside = torch.arange(130) < lengths.unsqueeze(1)
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=1e-4)
