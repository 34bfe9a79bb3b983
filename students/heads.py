"""Classifiers: a head on the clip embedding of a student, and how its logits become probabilities and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import Embeddings
from distill.students.decisions import DEFAULT_THRESHOLD
from distill.students.spaces import Space

_TEXT_TEMPERATURE = 0.07  # of CLAP at the start of its training (arXiv 2211.06687)


class Head(nn.Module):
    """Normalisation of the clip embedding, then one linear layer.

    Args:
        dim: Size of the clip embedding.
        classes: Number of classes.
        mean: Mean of the clip embeddings, for their standardisation. Shape (dim,). None: layer normalisation, whose
            scale is learned.
        deviation: Standard deviation of the clip embeddings. Shape (dim,). It is given with `mean`.
    """

    def __init__(self, dim: int, classes: int, mean: Tensor | None = None, deviation: Tensor | None = None) -> None:
        super().__init__()
        standardised = mean is not None and deviation is not None
        self.normalise = _Standardisation(mean, deviation) if standardised else nn.LayerNorm(dim)  # type: ignore[arg-type]
        self.linear = nn.Linear(dim, classes)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the head with a state dict. Raises KeyError or RuntimeError if it is none of a head."""
        classes, dim = state["linear.weight"].shape
        head = cls(dim, classes, state.get("normalise.mean"), state.get("normalise.deviation"))
        head.load_state_dict(dict(state))
        return head.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.linear.weight.device

    def forward(self, clip: Tensor) -> Tensor:
        """Map clip embeddings (batch, dim) to logits (batch, classes), in float32."""
        return self.linear(self.normalise(clip.float()))


class _Standardisation(nn.Module):
    """Standardisation by fixed statistics."""

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().float())
        self.register_buffer("deviation", deviation.detach().float())
        self.mean: Tensor
        self.deviation: Tensor

    def forward(self, clip: Tensor) -> Tensor:
        return (clip - self.mean) / self.deviation


class TextHead(nn.Module):
    """The cosine between clips and the texts of the classes, in the space of a teacher that embeds texts.

    Args:
        space: The map from the clip embedding into the space.
        texts: Embedding of the text of each class. Shape (classes, dim).
    """

    def __init__(self, space: Space, texts: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("texts", F.normalize(texts.detach().float(), dim=1))
        self.texts: Tensor

    @property
    def device(self) -> torch.device:
        """Where the vectors of the texts are."""
        return self.texts.device

    def forward(self, clip: Tensor) -> Tensor:
        """Map clip embeddings (batch, dim) to logits (batch, classes): cosines, divided by CLAP's first temperature."""
        return F.normalize(self.space(clip.float()), dim=1) @ self.texts.T / _TEXT_TEMPERATURE


@dataclass(frozen=True, eq=False)
class Classifier:
    """How a student classifies clips.

    Args:
        kind: "one of": each clip has exactly one of the classes (softmax). "many": each class is a separate decision
            (sigmoid).
        head: Head on the clip embedding. None: the network has logits of its own. A `TextHead` cannot be saved.
        temperature: Number by which logits are divided, so that probabilities are calibrated.
        thresholds: Probability from which on a class counts as present, for each class. Empty: 0.5.
        crop_seconds: Length of the clips that it was trained on. Longer clips were cropped. 0: whole clips.
        data: Digest of the data that it was trained on, with labels and splits. Empty: unknown.
    """

    kind: str
    head: Head | TextHead | None = None
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    crop_seconds: float = 10.0
    data: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], head: Head | None) -> Self:
        """Return the classifier with the values of a config.json. Raises TypeError if they are none of a classifier."""
        return cls(**{**config, "head": head, "thresholds": tuple(config.get("thresholds", ()))})

    def as_config(self) -> dict[str, Any]:
        """Return all values but the head, for config.json."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "head"}

    def logits(self, embeddings: Embeddings) -> Tensor:
        """Return the calibrated logits (batch, classes) of clips, from what the network returns for them."""
        logits = embeddings.logits
        if self.head is not None:
            if self.head.device != embeddings.clip.device:  # a traced graph cannot move a module
                self.head.to(embeddings.clip.device)
            logits = self.head(embeddings.clip)
        return logits / self.temperature if self.temperature != 1 else logits

    def threshold(self, column: int) -> float:
        """Return the probability from which on the class of a column counts as present."""
        return self.thresholds[column] if self.thresholds else DEFAULT_THRESHOLD
