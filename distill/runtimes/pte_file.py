"""A student as a program of ExecuTorch (.pte), for one clip of a fixed length, with the kernels of XNNPACK."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, cause_of, silenced


def write_pte_file(graph: StudentGraph, path: Path) -> None:
    """Write a student as a program of ExecuTorch. Each entry of the metadata is a method that returns a text.

    Raises:
        UserError: ExecuTorch refuses the student.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    # XNNPACK orders the weights itself, and refuses those that are in another order.
    module = copy.deepcopy(graph.module).to(memory_format=torch.contiguous_format)
    traced = replace(graph, module=module).traced()
    try:
        with silenced(), torch.no_grad():
            edge = to_edge_transform_and_lower(
                traced, partitioner=[XnnpackPartitioner()], constant_methods=dict(graph.metadata)
            )
            content = edge.to_executorch().buffer
    except Exception as error:  # ExecuTorch raises any error of its own passes
        raise UserError(f"ExecuTorch refuses the student ({cause_of(error)})") from error
    path.write_bytes(content)


def run_pte_file(path: Path, graph: StudentGraph) -> Run:
    """Return what computes the outputs of a program of ExecuTorch on the CPU.

    Raises:
        UserError: the installed ExecuTorch does not load programs beside the installed torch.
    """
    try:
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")
        assert method is not None
    except (ImportError, RuntimeError) as error:
        pair = f"executorch {version('executorch')} with torch {torch.__version__}"
        raise UserError(
            f"{pair} loads no program ({cause_of(error)}): pip install 'audio-distill[pte]' installs a working pair"
        ) from error

    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        values = method.execute([torch.from_numpy(waveform)])
        return {name: value.numpy().copy() for name, value in zip(graph.outputs, values, strict=True)}

    return run
