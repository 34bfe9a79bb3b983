"""An exported student gives the numbers of the student in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile

from distill.data.batch import Embeddings
from distill.data.encoders.tiling import Windows
from distill.data.errors import AudioError, UserError
from distill.runtimes import exported
from distill.runtimes.exported import ExportedEmbeddings, ExportedStudent
from distill.students.student import Student
from tests.exported import LABELS, exported_classifier


@pytest.fixture
def pair() -> tuple[Student, ExportedStudent]:
    student, _, path = exported_classifier()
    return student, ExportedStudent(path)


def noise(seconds: float, rate: int, rows: int = 1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((rows, round(seconds * rate))) * 0.1).astype(np.float32)


def require_equal(found: ExportedEmbeddings, expected: Embeddings) -> None:
    valid = expected.frame_mask[0]  # of clips of one length
    expected = expected._replace(frames=expected.frames[:, valid], frame_times=expected.frame_times[valid])
    for name in ("clip", "frames", "frame_times", "logits"):
        value = getattr(expected, name).numpy()
        np.testing.assert_allclose(getattr(found, name), value, atol=1e-4 * max(1.0, np.abs(value).max()), err_msg=name)


def test_states_what_the_student_is(pair: tuple[Student, ExportedStudent]) -> None:
    student, found = pair
    assert (found.sample_rate, found.labels, found.kind) == (student.sample_rate, LABELS, "many")
    assert found.thresholds.tolist() == [0.2, 0.5, 0.6]
    assert found.crop_seconds == 0.4
    assert found.frequency_band == student.frequency_band
    assert "cnn" in found.introduction()


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 32_000), (1.0, 44_100), (2.7, 16_000), (0.03, 32_000)])
def test_a_batch_has_the_embeddings_and_logits_of_pytorch(
    pair: tuple[Student, ExportedStudent], seconds: float, rate: int
) -> None:
    waveform = noise(seconds, rate, 2)
    require_equal(pair[1].embed(waveform, rate), pair[0].embed(waveform, rate))


def test_a_long_clip_is_cut_as_in_pytorch(
    pair: tuple[Student, ExportedStudent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, found = pair
    monkeypatch.setattr(exported, "_WHOLE_SECONDS", 5.0)
    monkeypatch.setattr(type(student), "whole_seconds", 5.0)
    waveform = noise(23.0, 16_000)
    expected = student.embed(waveform, 16_000)
    require_equal(found.embed(waveform, 16_000), expected)
    soundfile.write(tmp_path / "x.wav", waveform[0], 16_000, subtype="FLOAT")
    require_equal(found.embed_file(tmp_path / "x.wav"), expected)


@pytest.mark.parametrize("windows", [None, Windows(1.0), Windows(1.0, 0.3)])
def test_windows_of_a_file_are_those_of_pytorch(
    pair: tuple[Student, ExportedStudent], windows: Windows | None, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "x.wav", noise(12.3, 44_100)[0], 44_100)
    expected = list(pair[0].windows_of(tmp_path / "x.wav", windows))
    found = list(pair[1].windows_of(tmp_path / "x.wav", windows))
    np.testing.assert_allclose([window[:2] for window in found], [window[:2] for window in expected])
    for mine, other in zip(found, expected, strict=True):
        require_equal(mine.embeddings, other.embeddings)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 3.0])
def test_frames_cover_what_they_cover_in_pytorch(pair: tuple[Student, ExportedStudent], seconds: float) -> None:
    assert pair[1].covered(seconds) == pytest.approx(pair[0].covered(seconds), abs=1e-6)


@pytest.mark.parametrize(
    "waveform", [np.zeros(0, np.float32), np.zeros(9, np.int16), np.full(9, np.nan), np.zeros((1, 1, 9))]
)
def test_what_is_not_a_waveform_is_refused(pair: tuple[Student, ExportedStudent], waveform: np.ndarray) -> None:
    with pytest.raises(ValueError, match="waveform"):
        pair[1].embed(waveform, 16_000)


def test_what_cannot_be_read_is_named(pair: tuple[Student, ExportedStudent], tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError):
        pair[1].embed_file(tmp_path / "x.wav")
    with pytest.raises(ValueError, match="must be above 0"):
        list(pair[1].windows_of(tmp_path / "x.wav", Windows(0.0)))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"x", "ONNX Runtime cannot read it"), (b"", "cannot read")]
)
def test_another_file_is_one_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(UserError, match=message):
        ExportedStudent(tmp_path / "x.onnx")


def test_a_graph_of_another_program_is_refused(tmp_path: Path) -> None:
    model = onnx.load(exported_classifier()[2])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match="distill export"):
        ExportedStudent(tmp_path / "x.onnx")


def test_windows_as_a_batch_have_the_outputs_that_perch_hoplite_reads(pair: tuple[Student, ExportedStudent]) -> None:
    student, found = pair
    framed = np.lib.stride_tricks.sliding_window_view(noise(1.3, student.sample_rate)[0], 9_600)[::9_600]  # not copied
    session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    clip, logits = session.run(["clip", "logits"], {"waveform": framed})
    expected = student.embed(framed.copy(), student.sample_rate)
    np.testing.assert_allclose(clip.reshape(4, 1, -1)[:, 0], expected.clip.numpy(), atol=1e-4)
    np.testing.assert_allclose(logits.reshape(4, -1), expected.logits.numpy(), atol=1e-4)
