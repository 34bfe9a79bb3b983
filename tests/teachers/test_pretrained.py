"""Loading from transformers with torchaudio absent, broken, or needed by a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.teachers.test_ast import AST_FOLDER
from tests.teachers.test_clap import CLAP_UNFUSED
from tests.teachers.test_hub import save_wav2vec2

ROOT = Path(__file__).parents[2]
BROKEN = 'raise OSError("libtorchaudio.so: undefined symbol: torch_exception_get_what_without_backtrace")\n'
SCRIPT = """
import sys
if sys.argv[1] == "absent":
    sys.modules["torchaudio"] = None  # Python then raises ImportError
import torch
import distill
from distill.teachers import TEACHERS
from distill.data.clips.layouts import LAYOUTS

distill.list_teachers(), distill.list_students(), len(LAYOUTS)
for name in distill.__all__:
    getattr(distill, name)
for name, checkpoint in zip(sys.argv[2::2], sys.argv[3::2]):
    teacher = distill.create_teacher(name, checkpoint=checkpoint)
    print(name, teacher.embed(torch.zeros(16_000), 16_000).clip.shape[0])
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with a torchaudio that cannot be loaded with this torch."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(BROKEN)
    return tmp_path


def run(*words: str, first: Path = ROOT) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(first), str(ROOT)])
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize("state", ["absent", "broken"])
def test_teachers_of_transformers_work_without_torchaudio(state: str, broken: Path, tmp_path: Path) -> None:
    checkpoints = {
        "ast": AST_FOLDER,
        "clap": CLAP_UNFUSED,
        "transformers": save_wav2vec2(tmp_path / "wav2vec2"),
    }
    words = [word for pair in checkpoints.items() for word in pair]
    done = run("-c", SCRIPT, state, *words, first=broken if state == "broken" else ROOT)
    assert done.stdout.split() == ["ast", "1", "clap", "1", "transformers", "1"], done.stderr
    assert ("undefined symbol" in done.stderr) == (state == "broken")


def test_a_model_that_needs_torchaudio_names_the_pair_to_install(broken: Path, tmp_path: Path) -> None:
    from transformers import GraniteSpeechFeatureExtractor, WavLMConfig, WavLMModel

    model = tmp_path / "model"
    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7
    )
    WavLMModel(config).save_pretrained(model)
    (model / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": GraniteSpeechFeatureExtractor.__name__, "sampling_rate": 16_000})
    )
    words = ["embed", "--teacher", "transformers", "--teacher.checkpoint", str(model), "--data", str(tmp_path)]
    done = run("-m", "distill", *words, "--out", str(tmp_path / "store"), first=broken)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "pip install 'torch>=2.12' 'torchaudio>=2.11.1,<2.12'" in last
    assert "Traceback" not in done.stderr
