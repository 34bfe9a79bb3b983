"""Scalar buffers whose value the host knows, so that no step waits for the device to read them."""

from __future__ import annotations

from torch import Tensor


class HostValue:
    """The value of a scalar buffer, read again only after the buffer was replaced or changed by others.

    A buffer is part of checkpoints and moves with its module, so it is on the device.
    """

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._version, self._value = 0, 0.0

    def get(self, buffer: Tensor) -> float:
        """Return the value of a buffer."""
        if buffer.is_inference():  # it has no version
            return float(buffer)
        if buffer is not self._buffer or buffer._version != self._version:
            self._remember(buffer, float(buffer))
        return self._value

    def set(self, buffer: Tensor, value: float) -> None:
        """Set a buffer to a value."""
        self._remember(buffer.fill_(value), value)

    def _remember(self, buffer: Tensor, value: float) -> None:
        self._buffer, self._version, self._value = buffer, buffer._version, value
