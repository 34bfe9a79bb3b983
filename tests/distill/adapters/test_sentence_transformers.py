"""The module for sentence-transformers, with a stand-in for its base class. `make kits` runs the library itself."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from distill.data.errors import UserError
from distill.students.student import Student

_ADAPTER = "distill.adapters.sentence_transformers"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("", ".base", ".base.modules", ".util"):
        monkeypatch.setitem(sys.modules, f"sentence_transformers{name}", ModuleType(f"sentence_transformers{name}"))
    monkeypatch.setattr(
        sys.modules["sentence_transformers.base.modules"], "InputModule", torch.nn.Module, raising=False
    )
    util = sys.modules["sentence_transformers.util"]
    monkeypatch.setattr(util, "load_dir_path", lambda path, subfolder, **_: path, raising=False)
    sys.modules.pop(_ADAPTER, None)
    yield importlib.import_module(_ADAPTER)
    sys.modules.pop(_ADAPTER, None)


def test_clips_of_any_rate_and_length_become_embeddings(adapter: Any, folder: str, student: Student) -> None:
    module = adapter.StudentModule(folder)
    generator = np.random.default_rng(0)
    clips = [
        {"array": generator.standard_normal(samples, np.float32) * 0.1, "sampling_rate": rate}
        for samples, rate in ((32_000, 32_000), (12_000, 16_000))
    ]
    with torch.no_grad():
        found = module(module.preprocess(clips))["sentence_embedding"]
    alone = [student.embed(torch.as_tensor(clip["array"]), clip["sampling_rate"]).clip for clip in clips]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert module.modalities == ["audio"]
    assert module.get_embedding_dimension() == student.clip_dim


def test_a_saved_module_is_loaded_again(adapter: Any, folder: str, student: Student, tmp_path: Path) -> None:
    adapter.StudentModule(folder).save(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "README.md").read_text() == "# card\n"
    again = adapter.StudentModule.load(str(tmp_path / "saved"), trust_remote_code=False, backend="torch")
    for key, tensor in student.state_dict().items():
        assert torch.equal(tensor, again.student.state_dict()[key])


def test_without_the_library_one_line_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    sys.modules.pop(_ADAPTER, None)
    with pytest.raises(UserError, match="pip install"):
        importlib.import_module(_ADAPTER)
