"""Embeddings on their way from the device to the CPU."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from distill.data.batch import Embeddings

CLIP: tuple[str, ...] = ("clip",)
FRAMES: tuple[str, ...] = ("clip", "frames", "frame_times", "frame_mask")
LOGITS: tuple[str, ...] = ("logits",)


class Transfer:
    """Embeddings that are copied to the CPU, all by one copy. On a CUDA device, nothing waits for it before `get`.

    Args:
        embedded: Embeddings on any device.
        fields: Names of those that are copied, in the order of `Embeddings`.
    """

    def __init__(self, embedded: Embeddings, fields: Collection[str]) -> None:
        self._tensors = [getattr(embedded, name) for name in fields]
        self._fields, self._event = tuple(fields), None
        device = embedded.clip.device
        if device.type == "cpu":
            return
        packed = torch.cat([tensor.float().flatten() for tensor in self._tensors])
        # torch gives a copy that does not wait a target in pinned memory.
        self._packed = packed.to("cpu", non_blocking=device.type == "cuda")
        self._forms = [(tensor.shape, tensor.dtype) for tensor in self._tensors]
        self._tensors = []
        if device.type == "cuda":
            self._event = torch.cuda.current_stream(device).record_event()

    def get(self) -> Embeddings:
        """Return the embeddings on the CPU, floating-point tensors as float32. Those not copied have no elements."""
        if self._event is not None:
            self._event.synchronize()
        if not self._tensors:
            parts = self._packed.split([shape.numel() for shape, _ in self._forms])
            self._tensors = [
                part.view(shape) if dtype.is_floating_point else part.view(shape).to(dtype)
                for part, (shape, dtype) in zip(parts, self._forms, strict=True)
            ]
        found = dict(zip(self._fields, self._tensors, strict=True))
        return Embeddings(*(_exact(found.get(name, torch.zeros(0))) for name in Embeddings._fields))


def _exact(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
