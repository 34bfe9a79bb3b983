"""A student as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.runtimes.graph import graph_of
from distill.runtimes.onnx_file import run_onnx_file, write_onnx_file
from distill.students.student import Student

FORBIDDEN = {"STFT", "DFT", "Loop", "If", "Scan"}  # which some runtimes lack


class Loudness(Student):
    """A student with a small term in a square root, which the optimisation of the exporter removes."""

    sample_rate = 16_000

    def encode(self, batch: AudioBatch) -> Embeddings:
        power = batch.waveform.square().mean(1, keepdim=True) * torch.tensor([[0.0, 1.0]])
        return Embeddings.of_clip((power + 1e-8).sqrt())


class Undecomposed(Student):
    """A student with an operator that the runtimes lack."""

    sample_rate = 16_000

    def encode(self, batch: AudioBatch) -> Embeddings:
        square = batch.waveform[:, :16].unflatten(1, (4, 4))
        return Embeddings.of_clip(torch.linalg.eigvalsh(square @ square.mT))


def test_a_refused_operator_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written as ONNX .*linalg_eigh") as raised:
        write_onnx_file(graph_of(Undecomposed()), tmp_path / "x.onnx")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_keeps_small_terms_and_free_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    write_onnx_file(graph_of(Loudness()), path)
    run = run_onnx_file(path)
    for clips, samples in ((1, 1_600), (3, 16_001)):
        waveform = torch.randn(clips, samples) * 0.1
        expected = torch.stack([torch.full((clips,), 1e-4), waveform.square().mean(1).add(1e-8).sqrt()], 1)
        np.testing.assert_allclose(run(waveform.numpy())["clip"], expected.numpy(), rtol=1e-5)
    model = onnx.load(path)
    assert {entry.key for entry in model.metadata_props} >= {"sample_rate", "name", "sha256", "licence", "version"}
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
