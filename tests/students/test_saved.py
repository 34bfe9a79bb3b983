"""Student folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import distill
from distill.data.encoders import packed as packing
from distill.data.encoders.registry import Spec
from distill.data.errors import UserError
from distill.students.saved import save_student, untrained_copy, untrained_student
from tests.distill.commands.test_fit import fit


def test_a_damaged_student_is_refused(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(8), tmp_path / "run", epochs=1)
    path = tmp_path / "run" / "student" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        distill.load(str(tmp_path / "run"))


def test_a_student_with_a_registered_name_is_loaded_by_its_package(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import distill, torch\n\n\n@distill.register_student('slim')\nclass Slim(distill.Student):\n"
        "    sample_rate = 16_000\n\n    def __init__(self):\n        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.ones(1))\n\n    def encode(self, batch):\n"
        "        return distill.Embeddings.of_clip(batch.waveform.std(1, keepdim=True) * self.scale)\n"
    )
    script = "import distill, sys; print(distill.load(sys.argv[1], *sys.argv[2:]).clip_dim)"
    save = "import mine, distill, pathlib; from distill.students.saved import save_student as s; "
    save += "s(distill.create_student('slim'), pathlib.Path('run/student'), 'card')"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
        return subprocess.run(
            [sys.executable, "-c", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    assert run(save).returncode == 0
    assert "--allow_import mine " in run(script, "run").stderr
    assert run(script, "run", "mine").stdout.strip() == "1"


def test_a_student_folder_cannot_import_what_it_names(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(sounds(8), tmp_path / "run", epochs=1)
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "run" / "student" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"student": "evil.Student"}))
    with pytest.raises(UserError, match="--allow_import evil"):
        distill.load(str(tmp_path / "run"))


def test_an_untrained_student_has_the_network_of_the_trained_one_and_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(7)
    student = distill.create_student("mobilenet_v3", width=0.1)
    save_student(student.eval(), tmp_path / "student", "card")
    before = torch.random.get_rng_state()
    untrained = untrained_student(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert untrained.parameter_count() == student.parameter_count()
    assert not untrained.training
    trained, random, again = (
        torch.cat([parameter.flatten() for parameter in network.parameters()])
        for network in (student, untrained, untrained_copy(student))
    )
    assert torch.equal(random, again)
    assert not torch.equal(random, trained)
    (tmp_path / "student" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not the configuration of a student"):
        untrained_student(tmp_path)


def test_files_of_initial_weights_are_not_read_by_an_untrained_copy(tmp_path: Path) -> None:
    student = distill.create_student("mobilenet_v3", width=0.1)
    assert student.spec is not None
    student.spec = Spec(student.spec.name, {**student.spec.options, "checkpoint": str(tmp_path / "none.pt")})
    assert untrained_copy(student).parameter_count() == student.parameter_count()


def test_a_loaded_student_is_packed_learns_and_is_saved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "gains", lambda: True)
    student = distill.create_student("hear", hidden=16, intermediate=32, heads=2, layers=1).eval()
    save_student(student, tmp_path / "student", "card")
    loaded, batch = distill.load(tmp_path / "student"), distill.AudioBatch.of(torch.randn(2, 4000), 16_000)
    assert any(isinstance(module, packing.PackedLinear) for module in loaded.modules())
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch).clip, student(batch).clip, atol=1e-5, rtol=1e-5)
    optimizer = torch.optim.SGD(loaded.train().parameters(), 0.1)
    loaded(batch).clip.square().mean().backward()
    optimizer.step()
    save_student(loaded.eval(), tmp_path / "again", "card")
    with torch.no_grad():
        changed = loaded(batch).clip
        torch.testing.assert_close(distill.load(tmp_path / "again")(batch).clip, changed)
        assert (changed - student(batch).clip).abs().max() > 1e-4
