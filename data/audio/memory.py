"""When memory that is there already may be written to."""

from __future__ import annotations

import torch
from torch import Tensor


def may_reuse_memory(waveform: Tensor) -> bool:
    """Whether results may go where others were: not on a device, in a graph or where a gradient is wanted."""
    return waveform.device.type == "cpu" and not torch.compiler.is_compiling() and not waveform.requires_grad
