"""A student as files of PyTorch: a program of torch.export (.pt2), or weights alone (.safetensors)."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, silenced
from distill.teachers.graph import TENSORS


def write_pt2_file(graph: StudentGraph, path: Path) -> None:
    """Write a student as a program of torch.export, with free batch and length and the metadata as extra files.

    Raises:
        UserError: the student cannot be traced.
    """
    program = graph.traced()
    for node in list(program.graph.nodes):
        # Asserted conditions on strides hold for the example only, and not for a batch of one clip.
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    program.example_inputs = (
        (torch.zeros(1, graph.shortest),),
        {},
    )  # the file holds them; those of the trace have 5 MB
    names = dict(zip(graph.outputs, program.graph_signature.user_outputs, strict=True))  # which torch chooses
    metadata = {key: names.get(text, text) if key in TENSORS else text for key, text in graph.metadata.items()}
    with silenced():  # torch warns of weights that are views
        torch.export.save(program, path, extra_files=metadata)


def run_pt2_file(path: Path, outputs: tuple[str, ...]) -> Run:
    """Return what computes the outputs of a file that `write_pt2_file` wrote in this process."""
    with silenced():
        return _run(torch.export.load(path).module(), outputs)


def write_safetensors_file(graph: StudentGraph, path: Path) -> None:
    """Write the weights of a student, of its head and of its space, with the metadata in the header of the file."""
    state = {key: tensor.detach().contiguous().clone() for key, tensor in graph.module.state_dict().items()}
    save_file(state, path, metadata={**graph.metadata, "outputs": json.dumps(graph.outputs)})


def open_safetensors(path: Path, graph: StudentGraph) -> Run:
    """Return what computes the outputs with the weights of a file."""
    module = copy.deepcopy(graph.module)
    for tensor in module.state_dict().values():
        tensor.zero_()
    module.load_state_dict(load_file(path))
    return _run(module, graph.outputs)


def _run(module: torch.nn.Module, outputs: tuple[str, ...]) -> Run:
    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        with torch.no_grad():
            values = module(torch.from_numpy(waveform))
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return run
