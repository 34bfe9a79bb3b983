"""The rule for writing results into preallocated memory."""

from __future__ import annotations

import torch
from torch import Tensor


def may_reuse_memory(waveform: Tensor) -> bool:
    """Return whether results may be written to preallocated memory: on a CPU, outside of graphs, without gradients."""
    return waveform.device.type == "cpu" and not torch.compiler.is_compiling() and not waveform.requires_grad
