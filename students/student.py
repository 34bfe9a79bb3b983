"""What a student is: an encoder that learns."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from distill.data.encoders.encoder import Encoder


class Student(Encoder):
    """A trainable encoder with its own front-end. Subclass it, set `sample_rate`, and write `encode`.

    Its constructor takes plain values (numbers, strings, lists), because they are saved beside the weights and build
    the same network again.

    Attributes:
        teachers: Whom it learned from: by name a digest of class, options and weights.
        takes_classes: Whether the constructor has the option `classes`, the number of classes of a head.
    """

    teachers: Mapping[str, str] = MappingProxyType({})
    licence = "that of the teacher and the data it was trained with"
    source = "trained with `distill fit`"
    begins_from = ("checkpoint", "acoustic")  # options that say where weights began; loading must not need those files

    takes_classes = False

    def height(self, parameter: str) -> int:
        """How many blocks lie from a parameter's own to the last, for rates that decay with it; 0 outside of blocks."""
        return 0

    def at(self, share: float) -> None:
        """Called in training before each step, with the share of the run that is done, from 0 to 1."""
