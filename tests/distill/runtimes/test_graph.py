"""A student as a function of one tensor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.runtimes.graph import graph_of
from distill.students.saved import save_student
from tests.students.tiny import tiny_student


def test_states_what_a_user_of_the_file_must_know(tmp_path: Path) -> None:
    student = tiny_student("mobilenet_v3")
    student.licence, student.labels, student.teachers = "CC-BY-4.0", (), {"beats": "1", "clap": "2"}
    save_student(student, tmp_path, "card")
    stated = graph_of(student).metadata
    assert (stated["name"], stated["teacher"], stated["licence"]) == ("mobilenet_v3", "beats, clap", "CC-BY-4.0")
    assert (int(stated["sample_rate"]), float(stated["frame_hop"])) == (32_000, pytest.approx(student.frame_hop))
    assert (int(stated["clip_dim"]), int(stated["frame_dim"])) == (student.clip_dim, student.frame_dim)
    assert stated["sha256"] == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert stated["sha256"] == json.loads((tmp_path / "config.json").read_text())["sha256"]


def test_a_classifier_takes_at_most_a_window() -> None:
    student = tiny_student("hear_classifier")
    graph = graph_of(student)
    assert graph.longest is not None
    assert graph.samples(1_000) == graph.longest < student.windows.seconds * student.sample_rate
    assert float(graph.metadata["longest_seconds"]) == graph.longest / student.sample_rate


def test_a_graph_takes_the_clips_that_are_encoded_whole() -> None:
    assert graph_of(tiny_student("cnn")).longest is None
    assert graph_of(tiny_student("patch_transformer")).longest == 160_000


def test_a_tokenizer_has_tokens() -> None:
    student = tiny_student("hear_tokenizer").eval()
    graph = graph_of(student)
    waveform = torch.randn(2, 16_000) * 0.1
    *_, tokens = graph.module(waveform)
    expected, _ = student.tokenize(distill.AudioBatch.of(waveform, 16_000))
    assert graph.outputs[3] == "tokens"
    assert tokens.equal(expected)


def test_a_fixed_length_has_one_clip_and_no_empty_output() -> None:
    graph = graph_of(tiny_student("cnn"), seconds=0.5)
    assert graph.outputs == ("clip", "frames")
    assert graph.example.shape == (1, 16_000)
    stated = graph.metadata
    assert (stated["window_seconds"], stated["shortest_seconds"], stated["longest_seconds"]) == ("0.5",) * 3
    (waveform,) = (node for node in graph.traced().graph.nodes if node.name == "waveform")
    assert tuple(waveform.meta["val"].shape) == (1, 16_000)


@pytest.mark.parametrize(("name", "seconds"), [("cnn", 0.05), ("hear_classifier", 31.0)])
def test_an_impossible_length_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(UserError, match=f"--seconds {seconds:g}: must be at least 0.1"):
        graph_of(tiny_student(name), seconds=seconds)
