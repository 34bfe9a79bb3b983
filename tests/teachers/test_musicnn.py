"""MusiCNN against its official code, with the weights that the package ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.files import file_digest
from distill.teachers.musicnn import MusiCNN, MusiCNNNetwork
from tests.conftest import GOLDEN
from tests.teachers.golden import Golden, waveforms
from tests.teachers.tiny import TinyTeacher

WEIGHTS = Path(__file__).parents[2] / "teachers" / "weights"


@pytest.fixture(scope="module")
def teacher() -> MusiCNN:
    return MusiCNN()


@pytest.fixture(scope="module")
def batch() -> AudioBatch:
    lengths = load_file(GOLDEN / "musicnn" / "inputs.safetensors")["lengths"]
    return AudioBatch.of(waveforms("musicnn")["wav_i16"], 16_000, lengths)


class TestOfficialCode:
    golden = Golden("musicnn", 1e-4)

    def test_front_end(self, teacher: MusiCNN, batch: AudioBatch) -> None:
        waveform = batch.waveform.clone()
        length = int(batch.lengths[2])
        waveform[2] = waveform[2, torch.arange(waveform.shape[1]) % length]
        self.golden.check("input_sub", teacher.spectrogram(waveform)[:, ::8])

    def test_clips_frames_and_tags(self, teacher: MusiCNN, batch: AudioBatch) -> None:
        embeddings = teacher(batch)
        self.golden.check("mean_pool", embeddings.clip[:, :753])
        self.golden.check("max_pool", embeddings.clip[:, 753:])
        self.golden.check("frames_sub", embeddings.frames[:, ::16])
        self.golden.check("logits", embeddings.logits)

    def test_the_tags_of_the_first_clip(self, teacher: MusiCNN, batch: AudioBatch) -> None:
        order = teacher(batch).logits[0].argsort(descending=True)
        assert [teacher.labels[column] for column in order[:4]] == ["slow", "guitar", "piano", "soft"]


def test_a_short_clip_is_repeated_and_its_frames_end_with_it(teacher: MusiCNN) -> None:
    waveform = torch.randn(16_000) * 0.1
    once, thrice = teacher.embed(waveform, 16_000), teacher.embed(waveform.repeat(3), 16_000)
    torch.testing.assert_close(once.clip, thrice.clip, atol=1e-4, rtol=0)
    assert once.frame_mask.sum() == 63  # centred on 0 to 62 * 16 ms
    torch.testing.assert_close(once.frames[0, :63], thrice.frames[0, :63], atol=1e-4, rtol=0)
    assert once.frame_times[62].item() == pytest.approx(0.992)


def test_more_windows_than_are_encoded_at_once_give_the_same(teacher: MusiCNN) -> None:
    waveform = torch.randn(6, 16_000) * 0.1
    alone = torch.cat([teacher.embed(row, 16_000).clip for row in waveform])
    torch.testing.assert_close(teacher.embed(waveform, 16_000).clip, alone, atol=1e-4, rtol=0)


def test_windows_longer_than_the_input_of_the_network_are_refused() -> None:
    with pytest.raises(UserError, match=r"--teacher\.windows\.seconds 10: must be at most 3"):
        MusiCNN(windows=distill.Windows(seconds=10))


def test_the_shipped_file_is_the_one_of_its_readme_and_needs_no_option() -> None:
    readme = (WEIGHTS / "README.md").read_text()
    provenance = MusiCNN().provenance
    assert provenance is not None
    assert provenance.sha256 == file_digest(WEIGHTS / "musicnn.safetensors")
    assert f"| sha256 | {provenance.sha256} |" in readme
    assert provenance.dropped == ()


def test_a_file_of_another_place_and_one_that_is_not_of_this_network(tmp_path: Path) -> None:
    state = load_file(WEIGHTS / "musicnn.safetensors")
    save_file(state | {"extra": torch.zeros(1)}, tmp_path / "own.safetensors")
    own = MusiCNN(str(tmp_path / "own.safetensors"))
    assert own.provenance is not None
    assert own.provenance.dropped == ("extra",)
    del state["head.4.bias"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(UserError, match=r"less\.safetensors: 1 of .* weights are missing, 'head\.4\.bias' first"):
        MusiCNN(str(tmp_path / "less.safetensors"))


TINY = TinyTeacher(lambda folder: {}, published_network=MusiCNNNetwork)
