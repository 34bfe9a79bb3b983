"""A teacher that is a TensorFlow Lite file."""

from __future__ import annotations

from distill.teachers.graph_file import GraphFile
from distill.teachers.tflite_graph import TfliteGraph


class TfliteFile(GraphFile):
    """A TensorFlow Lite file, such as BirdNET's, run by LiteRT on the CPU."""

    source = "a program that writes TensorFlow Lite: --teacher.checkpoint FILE"
    graph_class = TfliteGraph
