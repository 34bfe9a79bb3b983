"""The base class of students: an encoder that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.students.heads import Classifier
from distill.students.spaces import Space, space_of


class Student(Encoder):
    """A trainable encoder with its own front-end. Subclass it, set `sample_rate`, and write `encode`.

    The constructor must take plain values only (numbers, strings, lists). They are saved beside the weights, and the
    same network is built again from them.

    Attributes:
        teachers: Digest of the class, options and weights of each teacher that it was trained with, by name.
        spaces: The map into the space of each teacher, by its name. They are saved beside the weights.
        classifier: How it classifies clips, in the order of `labels`. None: it does not, or it has logits of its own
            that no run of `distill fit` has trained. It is saved beside the weights, and is no part of them: the
            embeddings do not depend on it.
        initial_weights: Options that name files of initial weights; a saved student does not need them.
        takes_classes: Whether the constructor has the option `classes`, the number of classes of a head.
        longest_crop: Longest crop of the default recipe, in seconds.
        learning_rate: Maximum learning rate of the default recipe.
        weight_decay: Weight decay of the default recipe.
        by_length: Whether a batch of the default recipe has clips of similar length. None: only for a student without
            batch normalisation.
    """

    teachers: Mapping[str, str] = MappingProxyType({})
    spaces: Mapping[str, Space] = MappingProxyType({})
    classifier: Classifier | None = None
    initial_weights: tuple[str, ...] = ("checkpoint",)
    licence = "that of the teacher and the data it was trained with"
    source = "trained with `distill fit`"

    takes_classes = False
    longest_crop: float = 10.0
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    by_length: bool | None = None

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by the keys of the published code.

        Raises:
            UserError: no published code computes what this student does.
        """
        raise UserError(f"no published code has the network of {type(self).__name__}, so it has no official format")

    def embed(self, waveform: Tensor, sample_rate: int, lengths: Tensor | None = None, space: str = "") -> Embeddings:
        """Encode waveforms in evaluation mode, without gradients, on the device of the student.

        Args:
            waveform: Samples in [-1, 1], one channel per clip, as a tensor or NumPy array. Shape (samples,) or
                (batch, samples).
            sample_rate: In Hz.
            lengths: Valid samples of each clip, if clips are padded. Shape (batch,). None means all samples.
            space: Name of a teacher, in whose space the clip embeddings are returned. Empty: the student's own.

        Raises:
            UserError: the student does not answer in this space.
            ValueError: the waveform has another number of dimensions, integers, no samples, or samples that are not
                finite, or the sample rate is not a whole number of Hz.
        """
        embeddings = super().embed(waveform, sample_rate, lengths)
        return self.in_space(embeddings, space) if space else embeddings

    def in_space(self, embeddings: Embeddings, space: str) -> Embeddings:
        """Return embeddings whose clip embeddings lie in the space of a teacher; the frames stay.

        Raises:
            UserError: the student does not answer in this space.
        """
        mapped = space_of(self.spaces, space).to(embeddings.clip.device)
        with torch.no_grad():
            return embeddings._replace(clip=mapped(embeddings.clip.float()))

    def classified(self, embeddings: Embeddings) -> Embeddings:
        """Return what the network returns for clips, with the calibrated logits of the classifier if there is one."""
        return embeddings if self.classifier is None else embeddings._replace(logits=self.classifier.logits(embeddings))

    @property
    def own_logits(self) -> int:
        """Number of logits of the network itself. It is measured on noise of two seconds, or of its longest clip."""
        noise = AudioBatch.of(self._noise(min(2.0, self.longest_whole)), self.sample_rate).to(self.device)
        return self._evaluate(partial(self.encode, noise)).logits.shape[1]

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
