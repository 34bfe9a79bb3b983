"""A teacher that is a file of torch.export."""

from __future__ import annotations

from distill.teachers.exported_graph import ExportedGraph
from distill.teachers.graph_file import GraphFile


class ExportedFile(GraphFile):
    """A file of torch.export.save (.pt2), interpreted on the CPU."""

    source = "torch.export.save: --teacher.checkpoint FILE.pt2"
    graph_class = ExportedGraph
