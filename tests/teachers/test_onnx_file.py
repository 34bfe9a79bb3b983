"""The teacher `onnx`. What it has in common with other files of graphs is tested in test_graph_file.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper

import distill
from distill.run.identity import encoder_fingerprint
from tests.teachers.onnx_files import build, save
from tests.teachers.tiny import TinyTeacher

STATED = {"sample_rate": "16000", "output": "clip", "frames": "frames", "logits": "logits"}
TINY = TinyTeacher(lambda folder: {"checkpoint": save(folder, build(metadata=STATED))}, is_graph=True)


def test_every_file_with_weights_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    model = build(metadata=STATED)
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=1000)
    graph, weights = (tmp_path / "big.onnx").read_bytes(), (tmp_path / "big.data").read_bytes()

    def fingerprint() -> dict[str, Any]:
        return encoder_fingerprint(distill.create_teacher("onnx", checkpoint=str(tmp_path / "big.onnx")))

    before = fingerprint()
    (tmp_path / "big.data").write_bytes(weights[:-4] + b"\0\0\0\0")
    assert fingerprint() != before
    (tmp_path / "big.data").write_bytes(weights)
    assert fingerprint() == before
    (tmp_path / "big.onnx").write_bytes(
        graph + helper.make_model(onnx.GraphProto(), producer_name="x").SerializeToString()
    )
    assert fingerprint() != before


def test_it_has_as_many_threads_as_pytorch(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        teacher = distill.create_teacher("onnx", checkpoint=save(tmp_path, build(metadata=STATED)))
        options = teacher.graph._session.get_session_options()
    finally:
        torch.set_num_threads(threads)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
