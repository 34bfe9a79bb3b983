"""A student as a graph for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.runtimes.formats import write_student
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from distill.students.spaces import Space
from tests.students.tiny import STUDENT_NAMES, tiny_options, tiny_student

QUICK = ("cnn", "hear_tokenizer", "mobilenet_v3")  # the exporter takes up to a minute for the others


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in (*STUDENT_NAMES, "44 kHz")]
)
def test_a_student_from_waveform_to_embeddings_of_any_batch_and_length(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**tiny_options("hear_classifier"), "rate": 44_100}
    student = distill.create_student("hear_classifier", **options) if name == "44 kHz" else tiny_student(name)
    save_student(student.eval(), tmp_path / "run" / "student", "card")
    main(["export", "--model", str(tmp_path / "run"), "--out", str(tmp_path / "student.onnx")])
    assert "differs from PyTorch by at most" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(tmp_path / "student.onnx"))
    rate = student.sample_rate
    for clips, samples in ((1, rate // 10), (3, 50_001)):  # a length that nothing divides
        waveform = torch.randn(clips, samples) * 0.1
        clip, frames, logits = session.run(["clip", "frames", "logits"], {"waveform": waveform.numpy()})
        expected = student.embed(waveform, rate)
        torch.testing.assert_close(torch.from_numpy(clip), expected.clip, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.from_numpy(logits), expected.logits, atol=1e-4, rtol=1e-4)
        assert frames.shape == expected.frames.shape


def test_a_graph_has_the_calibrated_logits_of_the_head(tmp_path: Path) -> None:
    student = tiny_student("cnn").eval()
    student.labels = ("a", "b", "c")
    statistics = (torch.randn(student.clip_dim), torch.rand(student.clip_dim) + 0.5)
    student.classifier = Classifier("many", Head(student.clip_dim, 3, *statistics), temperature=2.5)
    write_student(student, tmp_path / "x.onnx")
    waveform = torch.randn(1, student.sample_rate) * 0.1
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"))
    (logits,) = session.run(["logits"], {"waveform": waveform.numpy()})
    expected = student.embed(waveform, student.sample_rate).logits
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)
    teacher = distill.create_teacher("onnx", checkpoint=str(tmp_path / "x.onnx"))
    assert teacher.labels == student.labels


@pytest.mark.parametrize("norm", [0.0, 2.0])
def test_a_graph_answers_in_the_space_of_the_teacher(norm: float, tmp_path: Path) -> None:
    student = tiny_student("mobilenet_v3").eval()
    layers = [(torch.randn(6, student.clip_dim), torch.randn(6)), (torch.randn(5, 6), torch.randn(5))]
    student.spaces = {"clap": Space(layers, torch.randn(5, 5), torch.randn(5), norm)}
    save_student(student, tmp_path / "run" / "student", "card")
    words = ["export", "--model", str(tmp_path / "run"), "--out", str(tmp_path / "x.onnx")]
    main([*words, "--space", "clap"])
    waveform = torch.randn(1, 2 * student.sample_rate) * 0.1
    clip = onnxruntime.InferenceSession(str(tmp_path / "x.onnx")).run(["clip"], {"waveform": waveform.numpy()})[0]
    expected = student.embed(waveform, student.sample_rate, space="clap").clip
    torch.testing.assert_close(torch.from_numpy(clip), expected, atol=1e-3, rtol=1e-3)
    (tmp_path / "x.onnx").unlink()
    with pytest.raises(SystemExit):
        main([*words, "--space", "beats"])
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("name", ["hear_classifier", "mobilenet_v3"])
def test_an_exported_student_is_a_teacher_without_other_options(name: str, sounds: Any, tmp_path: Path) -> None:
    student = tiny_student(name).eval()
    save_student(student, tmp_path / "run" / "student", "card")
    file, data = str(tmp_path / "x.onnx"), str(sounds(6))
    main(["export", "--model", str(tmp_path / "run"), "--out", file])
    common = ["--data", data, "--frames", "true", "--dtype", "float32", "--workers", "0"]
    main(["embed", "--teacher", "onnx", "--teacher.checkpoint", file, *common, "--out", str(tmp_path / "of_file")])
    main(["embed", "--model", str(tmp_path / "run"), *common, "--out", str(tmp_path / "of_student")])
    ours, theirs = (EmbeddingStore(tmp_path / store) for store in ("of_file", "of_student"))
    ids = [clip for clips, _ in theirs.blocks() for clip in clips]
    assert len(ids) == 6
    np.testing.assert_allclose(ours[ids], theirs[ids], atol=1e-4, rtol=0)
    for found, expected in zip(ours.frames(ids), theirs.frames(ids), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    teacher = distill.create_teacher("onnx", checkpoint=file)
    labels = student.labels or tuple(str(column) for column in range(len(teacher.labels)))
    assert (teacher.sample_rate, teacher.labels, teacher.licence) == (student.sample_rate, labels, student.licence)
    assert teacher.frame_hop == pytest.approx(student.frame_hop, abs=1e-6)
    wave = torch.randn(1, 2 * student.sample_rate) * 0.1
    of_file, of_student = (encoder.embed(wave, student.sample_rate) for encoder in (teacher, student))
    torch.testing.assert_close(of_file.frame_times, of_student.frame_times, atol=1e-4, rtol=0)
    torch.testing.assert_close(of_file.logits, of_student.logits, atol=1e-4, rtol=0)
    if not student.windows.seconds:  # then a long clip is not cut either
        wave = torch.randn(1, 11 * student.sample_rate) * 0.1
        long = [encoder.embed(wave, student.sample_rate).clip for encoder in (teacher, student)]
        torch.testing.assert_close(*long, atol=1e-4, rtol=0)
        assert teacher.windows.seconds == 0


def test_an_export_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    int8 = ["--model", "x", "--out", "y.pt2", "--int8", "sounds"]
    for words in (
        int8,
        ["--model", "x"],
        ["--model", "x", "--out", "y.txt"],
        ["--model", "/nowhere", "--out", "y.onnx"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(["export", *words])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_hear_and_unknown_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_student(tiny_student("bc_resnet").eval(), tmp_path / "run" / "student", "card")
    main(["export", "--model", str(tmp_path / "run"), "--format", "hear", "--out", str(tmp_path / "hear_run.py")])
    assert "frames of" in capsys.readouterr().out
    assert (tmp_path / "hear_run_student" / "model.safetensors").is_file()
    with pytest.raises(UserError, match="--space musicnn: --format hear writes the student's own embedding"):
        distill.export(str(tmp_path / "run"), str(tmp_path / "x.py"), space="musicnn", format="hear")
    with pytest.raises(UserError, match=r"--format 'haer': must be one of .*hear"):
        distill.export(str(tmp_path / "run"), str(tmp_path / "x.py"), format="haer")


def test_the_official_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_student(tiny_student("mobilenet_v3").eval(), tmp_path / "run" / "student", "card")
    main(["export", "--model", str(tmp_path / "run"), "--format", "official", "--out", str(tmp_path / "mn.pt")])
    assert "tensors by the official keys" in capsys.readouterr().out
    assert "student_model.model.features.0.0.weight" in torch.load(tmp_path / "mn.pt", weights_only=True)
