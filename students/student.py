"""The base class of students: an encoder that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from distill.data.encoders.encoder import Encoder


class Student(Encoder):
    """A trainable encoder with its own front-end. Subclass it, set `sample_rate`, and write `encode`.

    The constructor must take plain values only (numbers, strings, lists). They are saved beside the weights, and the
    same network is built again from them.

    Attributes:
        teachers: Digest of the class, options and weights of each teacher that it was trained with, by name.
        initial_weights: Options that name files of initial weights; a saved student does not need them.
        takes_classes: Whether the constructor has the option `classes`, the number of classes of a head.
        longest_crop: Longest crop of the default recipe, in seconds.
        learning_rate: Maximum learning rate of the default recipe.
        weight_decay: Weight decay of the default recipe.
        by_length: Whether a batch of the default recipe has clips of similar length. None: only for a student without
            batch normalisation.
    """

    teachers: Mapping[str, str] = MappingProxyType({})
    initial_weights: tuple[str, ...] = ("checkpoint",)
    licence = "that of the teacher and the data it was trained with"
    source = "trained with `distill fit`"

    takes_classes = False
    longest_crop: float = 10.0
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    by_length: bool | None = None

    @property
    def frequency_band(self) -> tuple[float, float]:
        """Lowest and highest frequency of the input, in Hz."""
        return 0.0, self.sample_rate / 2

    def layer_depth(self, parameter: str) -> int:
        """Return the depth of a parameter, counted from the last block (1) to the first.

        Used for layer-wise learning-rate decay. 0: not in a block.

        Args:
            parameter: Key of the parameter in the state dict.
        """
        return 0

    def on_progress(self, share: float) -> None:
        """Adapt to the progress of the training. Called before each step.

        Args:
            share: Share of the run that is done, from 0 to 1.
        """
