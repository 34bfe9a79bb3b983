"""MTEB's adapter, with stand-ins for the two classes of the kit. `make kits` runs the kit itself."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from distill.adapters.mteb import StudentEncoder
from distill.data.errors import UserError
from distill.students.student import Student


class AudioCollator:
    """Rows become columns, as in mteb; the stand-in does not resample."""

    def __init__(self, *, target_sampling_rate: int) -> None:
        self.rate = target_sampling_rate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        assert all(row["audio"]["sampling_rate"] == self.rate for row in rows)
        return {key: [row[key] for row in rows] for key in rows[0]}


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mteb", "mteb.models", "mteb.models.modality_collators", "mteb.models.model_meta"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["mteb.models.modality_collators"], "AudioCollator", AudioCollator, raising=False)
    meta = SimpleNamespace(create_empty=lambda values: SimpleNamespace(**values))
    monkeypatch.setattr(sys.modules["mteb.models.model_meta"], "ModelMeta", meta, raising=False)
    scores = SimpleNamespace(COSINE="cosine")
    monkeypatch.setattr(sys.modules["mteb.models.model_meta"], "ScoringFunction", scores, raising=False)


@pytest.mark.usefixtures("kit")
def test_clips_of_any_length_have_the_embeddings_that_they_have_alone(folder: str, student: Student) -> None:
    model = StudentEncoder(folder)
    generator = np.random.default_rng(0)
    clips = [generator.standard_normal(samples, np.float32) * 0.1 for samples in (32_000, 9_000, 20_000)]
    rows: Any = [{"audio": {"array": clip, "sampling_rate": 32_000}, "label": 0} for clip in clips]
    found = model.encode(DataLoader(rows, batch_size=2), task_metadata=None, hf_split="test", hf_subset="default")
    assert found.dtype == np.float32
    alone = torch.cat([student.embed(torch.as_tensor(clip), 32_000).clip for clip in clips])
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    assert model.mteb_model_meta.name == "audio-distill/BCResNet"
    assert model.mteb_model_meta.embed_dim == student.clip_dim


@pytest.mark.usefixtures("kit")
def test_similarities_are_cosines(folder: str) -> None:
    model = StudentEncoder(folder)
    a, b = np.array([[1.0, 0.0], [3.0, 3.0]]), np.array([[0.0, 2.0], [1.0, 1.0]])
    root = 0.5**0.5
    np.testing.assert_allclose(model.similarity(a, b), [[0, root], [root, 1]], atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(a, b), [0, 1], atol=1e-6)


def test_without_the_kit_one_line_names_what_to_install(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(UserError, match="pip install"):
        StudentEncoder(folder)
