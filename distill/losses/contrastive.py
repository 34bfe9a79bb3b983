"""Losses that compare every clip of a batch with every other clip. Shapes: prediction and target (rows, dim).

All similarities are cosines divided by a temperature, in float32. The maximum is subtracted before the exponential, so
no temperature overflows. `clusters` (rows,) are integers. `official` reproduces S-SONDO's code (commit f89abf2): its
masks multiply the similarities before the exponential, so each masked pair still adds exp(0) = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.losses.regression import cosine

_MIN_LEARNED_TEMPERATURE = 0.01  # as in CLAP


class _Similarity(nn.Module):
    """Cosine similarities of all pairs, divided by a temperature.

    Args:
        temperature: Divisor of the cosines, above 0.
        learned: Whether the temperature is trained, starting at `temperature` (Elizalde et al. 2022).

    Raises:
        ValueError: `temperature` is not above 0; or it is learned and starts below 0.01, where its gradient is 0.
    """

    retrieves = True

    def __init__(self, temperature: float = 0.07, learned: bool = False) -> None:
        super().__init__()
        if not temperature > 0 or (learned and temperature < _MIN_LEARNED_TEMPERATURE):
            valid_range = f"at least {_MIN_LEARNED_TEMPERATURE}" if learned else "above 0"
            raise ValueError(f"temperature {temperature}: must be {valid_range}")
        scale = torch.tensor(math.log(1 / temperature))
        self.log_scale: Tensor
        if learned:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale, persistent=False)

    def similarities(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the similarity of prediction i (row) and target j (column). Shape (rows, rows)."""
        learned = isinstance(self.log_scale, nn.Parameter)
        scale = self.log_scale.clamp(max=-math.log(_MIN_LEARNED_TEMPERATURE)) if learned else self.log_scale
        return F.normalize(prediction.float(), dim=1) @ F.normalize(target.float(), dim=1).T * scale.exp()


class Contrastive(_Similarity):
    """Cross entropy of finding each prediction's own target among all, and the reverse (the form of CLAP).

    Args:
        temperature: Divisor of the cosines, above 0.
        learned: Whether the temperature is trained, starting at `temperature`.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean of both directions, a scalar."""
        scores = self.similarities(prediction, target)
        own_index = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own_index) + F.cross_entropy(scores.T, own_index)) / 2


class Decoupled(_Similarity):
    """Contrastive loss without the own pair in the denominator (Yeh et al. 2022). It has no lower bound.

    Args:
        temperature: Divisor of the cosines, above 0.
        learned: Whether the temperature is trained, starting at `temperature`.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean over rows, a scalar; 0 for a single row."""
        scores = self.similarities(prediction, target)
        own_pairs = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if len(scores) < 2:
            return scores.sum() * 0
        return (scores.masked_fill(own_pairs, -torch.inf).logsumexp(1) - scores.diagonal()).mean()


class OtherClusters(_Similarity):
    """Contrastive loss whose negatives come from other clusters only, so similar clips are not pushed apart.

    Args:
        temperature: Divisor of the cosines, above 0.
        learned: Whether the temperature is trained, starting at `temperature`.
        official: Whether to compute as the published code does.
    """

    needs_clusters = True

    def __init__(self, temperature: float = 0.07, learned: bool = False, official: bool = False) -> None:
        super().__init__(temperature, learned)
        self.official = official

    def forward(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """Return the mean over rows that have a negative, a scalar; 0 if no row has one."""
        scores = self.similarities(prediction, target)
        is_negative = clusters.unsqueeze(1) != clusters
        has_negative = is_negative.any(1)
        own = scores.diagonal()
        if self.official:
            denominator = own.exp() + (scores * is_negative).exp().sum(1) + 1e-8
            losses = denominator.log() - own
        else:
            # The gradient of a row without negatives, which does not count, would not be finite.
            negatives = scores.masked_fill(~is_negative & has_negative.unsqueeze(1), -torch.inf).logsumexp(1)
            losses = torch.logaddexp(own, negatives) - own
        return _mean_where(has_negative, losses)


class ClusterAware(_Similarity):
    """Contrastive loss with all targets of the same cluster as positives and all others as negatives, both ways.

    Args:
        temperature: Divisor of the cosines, above 0.
        learned: Whether the temperature is trained, starting at `temperature`.
        own: Whether the own pair is a positive. Without it, no prediction is drawn to its own target.
        official: Whether to compute as the published code does.
    """

    needs_clusters = True

    def __init__(
        self, temperature: float = 0.07, learned: bool = False, own: bool = True, official: bool = False
    ) -> None:
        super().__init__(temperature, learned)
        self.own, self.official = own, official

    def forward(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """Return the mean over rows that have a positive and a negative, a scalar; 0 if no row has both."""
        scores = self.similarities(prediction, target)
        same_cluster = clusters.unsqueeze(1) == clusters
        is_positive = same_cluster
        if self.official or not self.own:
            is_positive = same_cluster & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        to_targets = self._one_direction(scores, is_positive, ~same_cluster)
        to_predictions = self._one_direction(scores.T, is_positive, ~same_cluster)
        return (to_targets + to_predictions) / 2

    def _one_direction(self, scores: Tensor, is_positive: Tensor, is_negative: Tensor) -> Tensor:
        masks = (is_positive, is_negative)
        if self.official:
            positives, negatives = ((scores * mask).exp().sum(1) for mask in masks)
            return ((positives + negatives).log() - positives.log()).mean()
        rows = is_positive.any(1) & is_negative.any(1)
        # A row without a positive or a negative does not count; its gradient would not be finite.
        positives, negatives = (
            scores.masked_fill(~mask & rows.unsqueeze(1), -torch.inf).logsumexp(1) for mask in masks
        )
        return _mean_where(rows, torch.logaddexp(positives, negatives) - positives)


class Hybrid(nn.Module):
    """Weighted sum of a cosine loss, a cluster-aware loss and the cosine of cluster centres (S-SONDO's hybrid).

    Args:
        cosine: Weight of the cosine distance of own pairs.
        cluster_aware: Weight of `ClusterAware`.
        centres: Weight of the negative cosine between the centres of each cluster in predictions and in targets.
        temperature: Temperature of the cluster-aware loss.
        official: Whether to compute the cluster-aware loss as the published code does.
    """

    needs_clusters = True
    retrieves = True

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
        """Return the weighted sum, a scalar."""
        terms = (
            cosine(prediction, target),
            self.cluster_aware(prediction, target, clusters),
            -self._centre_cosine(prediction, target, clusters),
        )
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()

    def _centre_cosine(self, prediction: Tensor, target: Tensor, clusters: Tensor) -> Tensor:
        """Return the cosine between the centres of normalised rows, a mean over clusters."""
        same_cluster = clusters.unsqueeze(1) == clusters
        predicted_centres, target_centres = (
            same_cluster.to(rows.dtype) @ rows  # the centre of each row's cluster, times the number of its rows
            for rows in (F.normalize(prediction.float(), dim=1), F.normalize(target.float(), dim=1))
        )
        is_first = same_cluster.int().argmax(1) == torch.arange(len(clusters), device=clusters.device)
        return _mean_where(is_first, F.cosine_similarity(predicted_centres, target_centres, dim=1))


class Relational(nn.Module):
    """Distance between the student's and the teacher's similarity matrices of a batch (Park et al. 2019, cosines)."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared difference of the matrices without their diagonals, a scalar; 0 for a single row."""
        if len(prediction) < 2:
            return prediction.sum() * 0
        student, teacher = (F.normalize(rows.float(), dim=1) for rows in (prediction, target))
        squares = (student @ student.T - teacher @ teacher.T).square()
        return (squares.sum() - squares.diagonal().sum()) / (len(squares) * (len(squares) - 1))


class KullbackLeibler(nn.Module):
    """Kullback-Leibler divergence between softmaxes over the embedding dimensions, times the squared temperature.

    Args:
        temperature: Temperature of both softmaxes, above 0.

    Raises:
        ValueError: `temperature` is not above 0.
    """

    averages_rows = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: must be above 0")
        self.temperature = temperature

    def constant(self, targets: Tensor) -> Tensor:
        """Return the best constant prediction (dim,) for targets (rows, dim): the logits of their mean softmax."""
        return self.temperature * (targets.float() / self.temperature).log_softmax(1).logsumexp(0)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean over all elements, a scalar, as in S-SONDO's code."""
        student, teacher = ((rows.float() / self.temperature).log_softmax(1) for rows in (prediction, target))
        return self.temperature**2 * (teacher.exp() * (teacher - student)).mean()


def _mean_where(mask: Tensor, losses: Tensor) -> Tensor:
    """Return the mean of losses (rows,) where a mask (rows,) is True; 0 if it is nowhere.

    Indices by a mask have a size that the host would have to read.
    """
    return torch.where(mask, losses, 0).sum() / mask.sum().clamp(min=1)
