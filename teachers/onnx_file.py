"""A teacher that is an ONNX file."""

from __future__ import annotations

from distill.teachers.graph_file import GraphFile
from distill.teachers.onnx_graph import OnnxGraph


class OnnxFile(GraphFile):
    """An ONNX file of `distill export` or of another program, run by ONNX Runtime on the CPU."""

    source = "`distill export`, or another program that writes ONNX: --teacher.checkpoint FILE"
    graph_class = OnnxGraph
