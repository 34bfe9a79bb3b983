"""Cost of an encoder: parameters, operations, time and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from distill.data.encoders.encoder import Encoder
from distill.teachers.teacher import Teacher

_REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of embedding one clip.

    Args:
        seconds: Length of the clip in seconds.
        parameters: Number of parameters of the encoder. None: unknown (see `known_parameters`).
        flops: Floating-point operations. A multiplication and an addition are two operations. Fourier transforms and
            elementwise operations do not count.
        latency: Seconds from samples to embedding: one clip at a time, median of five runs.
        memory: Peak memory of intermediate tensors, in bytes.
        device: Name of the device, or number of CPU threads.
    """

    seconds: float
    parameters: int | None
    flops: int
    latency: float
    memory: int
    device: str


def cost_of(encoder: Encoder, seconds: float = 10.0) -> Cost:
    """Measure the cost of an encoder on one clip of noise."""
    clip = _noise(encoder, seconds)

    def embed() -> None:
        encoder.embed(clip, encoder.sample_rate)

    # The counter does not see the products inside fused attention.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            embed()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    memory = memory_of(encoder, seconds)
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        embed()
        if encoder.device.type == "cuda":
            torch.cuda.synchronize(encoder.device)
        times.append(time.perf_counter() - begin)
    device = f"{torch.get_num_threads()} threads of a CPU"
    if encoder.device.type == "cuda":
        device = torch.cuda.get_device_name(encoder.device)
    return Cost(seconds, known_parameters(encoder), counter.get_total_flops(), statistics.median(times), memory, device)


def known_parameters(encoder: Encoder) -> int | None:
    """Return the number of parameters of an encoder. None if it is unknown.

    It is unknown for a store, and for a teacher whose weights are in no torch module. A teacher without weights states
    so in `published`.
    """
    published = encoder.published if isinstance(encoder, Teacher) else None
    stated = published.parameters if published is not None else None
    return encoder.parameter_count() or (0 if stated == 0 else None)


def memory_of(encoder: Encoder, seconds: float) -> int:
    """Return the peak memory of intermediate tensors in bytes, while one clip of noise is embedded."""
    clip = _noise(encoder, seconds)
    with _PeakMemory() as peak:
        encoder.embed(clip, encoder.sample_rate)
    return peak.bytes


def _noise(encoder: Encoder, seconds: float) -> torch.Tensor:
    return torch.randn(round(seconds * encoder.sample_rate), generator=torch.Generator().manual_seed(0)) * 0.1


class _PeakMemory(TorchDispatchMode):
    """Mode that tracks the memory of tensors created by operations; `bytes` is the peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._allocated: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        inputs = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in inputs:
                self._allocated[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._allocated = {key: entry for key, entry in self._allocated.items() if not entry[0].expired()}
        self.bytes = max(self.bytes, sum(size for _, size in self._allocated.values()))
        return result


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
