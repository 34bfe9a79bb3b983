"""Losses that compare every clip of a batch with every other. Shapes: prediction and target (rows, dim).

All similarities are cosines over a temperature, in float32 and with the largest taken out before exponents, so that no
temperature overflows. `clusters` (rows,) are whole numbers; `official` computes what S-SONDO's code does (commit
f89abf2), whose masks multiply similarities before the exponent, so that each masked pair still adds exp(0) = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.losses.regression import cosine

_LEAST_TEMPERATURE = 0.01  # of a learned one, as in CLAP


class _Similarity(nn.Module):
    """Cosines of all pairs over a temperature.

    Args:
        temperature: What cosines are divided by.
        learned: Learn it, from this value on (Elizalde et al. 2022).

    Raises:
        ValueError: a temperature of 0 or below, or a learned one that begins below 0.01, which could not learn.
    """

    def __init__(self, temperature: float = 0.07, learned: bool = False) -> None:
        super().__init__()
        if not temperature > 0 or (learned and temperature < _LEAST_TEMPERATURE):
            least = f"{_LEAST_TEMPERATURE} or more" if learned else "above 0"
            raise ValueError(f"temperature {temperature}: {least} is wanted")
        scale = torch.tensor(math.log(1 / temperature))
        self.log_scale: Tensor
        if learned:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale, persistent=False)

    def similarities(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Row i, column j: prediction i with target j. Shape (rows, rows)."""
        learned = isinstance(self.log_scale, nn.Parameter)
        scale = self.log_scale.clamp(max=-math.log(_LEAST_TEMPERATURE)) if learned else self.log_scale
        return F.normalize(prediction.float(), dim=1) @ F.normalize(target.float(), dim=1).T * scale.exp()


class Contrastive(_Similarity):
    """Each prediction finds its own target among all, and each target its prediction (the form of CLAP).

    Args:
        temperature: What cosines are divided by.
        learned: Learn it, from this value on.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar."""
        scores = self.similarities(prediction, target)
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


class Decoupled(_Similarity):
    """Contrastive without the own pair in the denominator (Yeh et al. 2022); it has no lower bound.

    Args:
        temperature: What cosines are divided by.
        learned: Learn it, from this value on.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar; 0 for a single row."""
        scores = self.similarities(prediction, target)
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if len(scores) < 2:
            return scores.sum() * 0
        return (scores.masked_fill(own, -torch.inf).logsumexp(1) - scores.diagonal()).mean()


class OtherClusters(_Similarity):
    """Contrastive with negatives from other clusters only: what is alike is not pushed away.

    Args:
        temperature: What cosines are divided by.
        learned: Learn it, from this value on.
        official: Compute as the published code does.
    """

    needs_clusters = True

    def __init__(self, temperature: float = 0.07, learned: bool = False, official: bool = False) -> None:
        super().__init__(temperature, learned)
        self.official = official

    def forward(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """A scalar, the mean over rows that have a negative; 0 where none has."""
        scores = self.similarities(prediction, target)
        other = clusters.unsqueeze(1) != clusters
        rows = other.any(1)
        own = scores.diagonal()
        if self.official:
            denominator = own.exp() + (scores * other).exp().sum(1) + 1e-8
            losses = denominator.log() - own
        else:
            negatives = scores.masked_fill(~other, -torch.inf).logsumexp(1)
            losses = torch.logaddexp(own, negatives) - own
        return losses[rows].mean() if bool(rows.any()) else scores.sum() * 0


class ClusterAware(_Similarity):
    """Pulls a prediction to all targets of its cluster and pushes it from those of others, in both directions.

    Args:
        temperature: What cosines are divided by.
        learned: Learn it, from this value on.
        own: Count the own pair among those of the cluster; without it, no prediction is drawn to its own target.
        official: Compute as the published code does.
    """

    needs_clusters = True

    def __init__(
        self, temperature: float = 0.07, learned: bool = False, own: bool = True, official: bool = False
    ) -> None:
        super().__init__(temperature, learned)
        self.own, self.official = own, official

    def forward(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """A scalar, the mean over rows that have a positive and a negative; 0 where none has."""
        scores = self.similarities(prediction, target)
        same = clusters.unsqueeze(1) == clusters
        alike = same
        if self.official or not self.own:
            alike = same & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        return (self._one_way(scores, alike, ~same) + self._one_way(scores.T, alike, ~same)) / 2

    def _one_way(self, scores: Tensor, alike: Tensor, other: Tensor) -> Tensor:
        if self.official:
            positives, negatives = ((scores * mask).exp().sum(1) for mask in (alike, other))
            return ((positives + negatives).log() - positives.log()).mean()
        rows = alike.any(1) & other.any(1)
        if not bool(rows.any()):
            return scores.sum() * 0
        positives, negatives = (scores.masked_fill(~mask, -torch.inf)[rows].logsumexp(1) for mask in (alike, other))
        return (torch.logaddexp(positives, negatives) - positives).mean()


class Hybrid(nn.Module):
    """Cosine, cluster-aware, and the cosine of the batch's cluster centres, weighted (S-SONDO's hybrid).

    Args:
        cosine: Weight of the cosine distance of own pairs.
        cluster_aware: Weight of `ClusterAware`.
        centres: Weight of the negative cosine between the two sides' centres of each cluster.
        temperature: Of the cluster-aware part.
        official: Compute that part as the published code does.
    """

    needs_clusters = True

    def __init__(
        self,
        cosine: float = 1.0,
        cluster_aware: float = 0.5,
        centres: float = 0.1,
        temperature: float = 0.07,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.weights = (cosine, cluster_aware, centres)
        self.cluster_aware = ClusterAware(temperature, official=official)

    def forward(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """A scalar."""
        parts = (
            cosine(prediction, target),
            self.cluster_aware(prediction, target, clusters),
            -self._centre_cosine(prediction, target, clusters),
        )
        return torch.stack([weight * part for weight, part in zip(self.weights, parts, strict=True)]).sum()

    def _centre_cosine(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """Mean over clusters of the cosine between the centres of normalised rows."""
        _, member = clusters.unique(return_inverse=True)
        mine, theirs = (
            rows.new_zeros(int(member.max()) + 1, rows.shape[1]).index_add(0, member, rows)
            for rows in (F.normalize(prediction.float(), dim=1), F.normalize(target.float(), dim=1))
        )
        return F.cosine_similarity(mine, theirs, dim=1).mean()


class Relational(nn.Module):
    """The student's similarities between the clips of a batch become the teacher's (Park et al. 2019, by cosines)."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of the two matrices, without their diagonals; 0 for a single row."""
        if len(prediction) < 2:
            return prediction.sum() * 0
        mine, theirs = (F.normalize(rows.float(), dim=1) for rows in (prediction, target))
        squares = (mine @ mine.T - theirs @ theirs.T).square()
        return (squares.sum() - squares.diagonal().sum()) / (len(squares) * (len(squares) - 1))


class KullbackLeibler(nn.Module):
    """Divergence between softmaxes over the numbers of an embedding, times the squared temperature.

    Args:
        temperature: Of both softmaxes.

    Raises:
        ValueError: a temperature of 0 or below.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: above 0 is wanted")
        self.temperature = temperature

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, the mean over all numbers, as in S-SONDO's code."""
        mine, theirs = ((rows.float() / self.temperature).log_softmax(1) for rows in (prediction, target))
        return self.temperature**2 * (theirs.exp() * (theirs - mine)).mean()
