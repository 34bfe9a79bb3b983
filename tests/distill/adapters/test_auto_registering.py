"""`AutoModel` and `AutoFeatureExtractor` in a process of their own, since what is registered stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_USE = """
extractor, model = AutoFeatureExtractor.from_pretrained(folder{trust}), AutoModel.from_pretrained(folder{trust})
print(AutoConfig.from_pretrained(folder{trust}).model_type, type(model).__module__)
clips = [torch.randn(16_000) * 0.1, torch.randn(8_000) * 0.1]
with torch.no_grad():
    found = model(**extractor(clips, sampling_rate=16_000, return_tensors="pt"))
import distill
for clip, row in zip(clips, found.pooler_output):
    assert torch.allclose(distill.load(folder).embed(clip, 16_000).clip[0], row, rtol=1e-4, atol=1e-5)
model.save_pretrained("again")
assert torch.equal(AutoModel.from_pretrained("again"{trust})(found.last_hidden_state[:, :, 0]).pooler_output,
                   model(found.last_hidden_state[:, :, 0]).pooler_output)
"""
_AUTO = "from transformers import AutoConfig, AutoFeatureExtractor, AutoModel\n"


@pytest.mark.parametrize(
    ("imports", "trust"),
    [("import distill\n" + _AUTO, ""), (_AUTO + "import distill\n", ""), (_AUTO, ", trust_remote_code=True")],
    ids=["distill first", "transformers first", "only transformers"],
)
def test_a_student_folder_is_a_model_of_transformers(folder: str, tmp_path: Path, imports: str, trust: str) -> None:
    script = f"import sys, torch\n{imports}folder = sys.argv[1]\n{_USE.format(trust=trust)}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script, folder],
        cwd=tmp_path, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["audio_distill_student", "distill.adapters.auto_model"]


def test_without_import_and_permission_no_code_runs(folder: str, tmp_path: Path) -> None:
    script = f"import sys\n{_AUTO}AutoModel.from_pretrained(sys.argv[1], trust_remote_code=False)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "ValueError" in done.stderr
