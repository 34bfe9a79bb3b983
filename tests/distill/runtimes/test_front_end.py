"""A student without its front-end, and the C header that has its constants."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.runtimes.front_end import c_header, without_front_end
from distill.runtimes.graph import graph_of
from tests.students.tiny import tiny_options, tiny_student

NARROW = {"sample_rate": 16_000, "low_hz": 50.0, "high_hz": 900.0}  # a longer window, whose samples are scaled


def constants(header: str) -> dict[str, np.ndarray]:
    """Read the numbers and arrays of a header."""
    found = {name: np.array(float(text)) for name, text in re.findall(r"#define STUDENT_(\w+) ([\d.e-]+)f?\n", header)}
    for name, size, body in re.findall(r"STUDENT_(\w+)\[(\d+)\] = \{([^}]*)\}", header):
        found[name] = np.array([float(text) for text in body.split(",")])
        assert len(found[name]) == int(size)
    return found


def log_mel(waveform: np.ndarray, header: str) -> np.ndarray:
    """Compute (bands, time) from samples with the constants alone, as a device does."""
    c = constants(header)
    window, hop, frames, at = int(c["WINDOW"]), int(c["HOP"]), [], 0
    for start in range(0, len(waveform) - window + 1, hop):
        power = np.abs(np.fft.rfft(waveform[start : start + window] * c["WINDOW_FUNCTION"], int(c["FFT"]))) ** 2
        at, mel = 0, []
        for first, count in zip(c["MEL_FIRST"].astype(int), c["MEL_COUNT"].astype(int), strict=True):
            mel.append(np.log(c["MEL_WEIGHTS"][at : at + count] @ power[first : first + count] + c["LOG_OFFSET"]))
            at += count
        frames.append(mel)
    assert at == len(c["MEL_WEIGHTS"])
    return np.array(frames).T


@pytest.mark.parametrize("options", [{}, NARROW])
@pytest.mark.parametrize("name", ["cnn", "bc_resnet"])
def test_the_header_gives_the_input_of_the_graph(name: str, options: dict[str, float]) -> None:
    student = distill.create_student(name, **tiny_options(name), **options).eval()
    whole = graph_of(student, seconds=0.5)
    graph = without_front_end(whole)
    assert graph.fixed is not None
    waveform = torch.randn(1, graph.fixed) * 0.1
    found = log_mel(waveform[0].double().numpy(), c_header(student))
    np.testing.assert_allclose(found, graph.input(waveform)[0].numpy(), atol=1e-4)
    with torch.no_grad():
        given = graph.module(torch.from_numpy(found).float().unsqueeze(0))
        for mine, theirs in zip(given, whole.module(waveform), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert graph.metadata["front_end"] == "outside"
    assert tuple(graph.example.shape) == (1, *found.shape)


def test_the_student_keeps_its_front_end() -> None:
    student = tiny_student("cnn")
    mel = student.mel
    without_front_end(graph_of(student, seconds=0.5))
    assert student.mel is mel


def test_another_front_end_is_refused() -> None:
    with pytest.raises(UserError, match="--front_end outside: hear has another front-end"):
        without_front_end(graph_of(tiny_student("hear"), seconds=0.5))
