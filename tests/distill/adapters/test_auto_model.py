from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.adapters.auto_config import StudentConfig
from distill.adapters.auto_model import StudentModel
from distill.data.errors import UserError
from distill.students.student import Student


def test_a_masked_batch_gives_what_each_clip_alone_gives(folder: str, student: Student) -> None:
    model = StudentModel.from_pretrained(folder)
    assert not model.training
    waveform, mask = torch.randn(2, 32_000) * 0.1, torch.ones(2, 32_000, dtype=torch.int32)
    mask[1, 20_000:] = 0
    with torch.no_grad():
        found = model(waveform, attention_mask=mask)
    alone = student.embed(waveform[1, :20_000], 32_000)
    torch.testing.assert_close(found.pooler_output[1:], alone.clip, rtol=1e-4, atol=1e-5)
    assert found.frame_mask.sum(1).tolist()[1] == alone.frames.shape[1]
    assert found.last_hidden_state.shape[2] == student.frame_dim


def test_it_can_be_trained_saved_and_loaded(folder: str, tmp_path: Path) -> None:
    model = StudentModel.from_pretrained(folder, dtype=torch.float64)
    assert model.dtype == torch.float64
    model = StudentModel.from_pretrained(folder)
    model(torch.randn(1, 16_000)).pooler_output.sum().backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    model.save_pretrained(str(tmp_path / "again"))
    again = StudentModel.from_pretrained(str(tmp_path / "again"))
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in model.state_dict().items())
    assert (tmp_path / "again" / "README.md").read_text() == "# card\n"


def test_a_class_that_is_not_known_is_not_imported(folder: str) -> None:
    config = StudentConfig.from_pretrained(folder)
    assert StudentModel(config).student.sample_rate == 32_000
    config.student = "some.package.Student"
    with pytest.raises(UserError, match="is not imported"):
        StudentModel(config)
