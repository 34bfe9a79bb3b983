"""Protocols: classifiers trained on frozen embeddings.

Each protocol is a function that takes training clips and yields candidates. A candidate is a trained classifier with
one choice of hyper-parameters. `scoring` selects a candidate on clips that are not scored. Letters of shapes: N clips,
D size of an embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from distill.students.heads import Head

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of the L2 penalty; each solution is the start of the next
NEIGHBOURS = (1, 5, 10, 20, 50)
EPOCHS = (5, 10, 20, 40, 80)
_OFFICIAL_EPOCHS = 1000
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # embeddings (N, D) -> scores (N, C)


class Clips(NamedTuple):
    """Embeddings and labels of clips.

    Args:
        embeddings: Shape (N, D), float32.
        truth: 1 where a clip has a label, otherwise 0. Shape (N, C), float32.
        known: False where the label was not annotated. Shape (N, C), bool. None: all labels were annotated.
        single: Whether every clip has exactly one label.
    """

    embeddings: NDArray[np.float32]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_] | None
    single: bool

    def select(self, rows: NDArray[np.int64]) -> Clips:
        """Return the clips with these row indices."""
        known = None if self.known is None else self.known[rows]
        return Clips(self.embeddings[rows], self.truth[rows], known, self.single)


def linear(clips: Clips, seed: int) -> Iterator[Predict]:
    """Train logistic regression on standardised embeddings, by L-BFGS. Yield one candidate for each L2 penalty."""
    standardise = _Standardiser(clips.embeddings)
    x, y = standardise(clips.embeddings), torch.from_numpy(clips.truth)
    known = None if clips.known is None else torch.from_numpy(clips.known)
    weight, bias = torch.zeros(x.shape[1], y.shape[1]), torch.zeros(y.shape[1])
    for strength in STRENGTHS:
        _solve(x, y, known, clips.single, strength, weight, bias)
        yield LinearClassifier(standardise, weight.clone(), bias.clone())


def mlp(clips: Clips, seed: int) -> Iterator[Predict]:
    """Train one hidden layer of 512 (dropout 0.25, AdamW at 1e-3, batches of 128). Yield one candidate per `EPOCHS`."""
    standardise = _Standardiser(clips.embeddings)
    x, y = standardise(clips.embeddings), torch.from_numpy(clips.truth)
    known = None if clips.known is None else torch.from_numpy(clips.known)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(x.shape[1], 512), nn.ReLU(), nn.Dropout(0.25), nn.Linear(512, y.shape[1]))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        for epoch in range(1, EPOCHS[-1] + 1):
            for rows in torch.randperm(len(x)).split(128):
                optimizer.zero_grad()
                _loss(network(x[rows]), y[rows], None if known is None else known[rows], clips.single).backward()
                optimizer.step()
            if epoch in EPOCHS:
                weights = [parameter.detach().clone() for parameter in network.parameters()]
                yield _Perceptron(standardise, *weights)


def knn(clips: Clips, seed: int) -> Iterator[Predict]:
    """Classify by the vote of the nearest clips, weighted by cosine. Yield one candidate for each number of neighbours.

    Only neighbours with an annotated label vote on that label. If there is none, the score is the label's frequency.
    """
    import faiss

    vectors = _unit_length(clips.embeddings)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    for neighbours in NEIGHBOURS:
        yield _Neighbours(index, clips.truth, clips.known, min(neighbours, len(vectors)))


def linear_best_test_epoch(clips: Clips, seed: int) -> Iterator[Predict]:
    """Train as S-SONDO's notebook for ESC-50 (raw embeddings, Adam at 1e-3, batches of 64).

    Yield one candidate for each epoch. The published scores are those of the best of 1000 epochs on
    the test fold. Do not compare them with other scores.
    """
    x, y = torch.from_numpy(clips.embeddings), torch.from_numpy(clips.truth)
    known = None if clips.known is None else torch.from_numpy(clips.known)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head = nn.Linear(x.shape[1], y.shape[1])
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
        for _ in range(_OFFICIAL_EPOCHS):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                _loss(head(x[rows]), y[rows], None if known is None else known[rows], clips.single).backward()
                optimizer.step()
            yield LinearClassifier(None, head.weight.detach().T.clone(), head.bias.detach().clone())


@dataclass(frozen=True)
class Protocol:
    """One way to train classifiers on frozen embeddings.

    Args:
        name: Name of the protocol, part of every result.
        candidates: Function of training clips and a seed that yields candidates.
        chosen_on_test: Whether the candidate is selected on the scored clips, which overestimates the score.
        threshold: Score above which F1 counts a label as predicted: a probability of a half.
    """

    name: str
    candidates: Callable[[Clips, int], Iterator[Predict]]
    chosen_on_test: bool = False
    threshold: float = 0.0


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("linear", linear),
        Protocol("mlp", mlp),
        Protocol("knn", knn, threshold=0.5),
        Protocol("linear_best_test_epoch", linear_best_test_epoch, chosen_on_test=True),
    )
}


class _Standardiser:
    """Standardisation by the mean and the standard deviation of each column of the training clips."""

    def __init__(self, embeddings: NDArray[np.float32]) -> None:
        self.mean, self.deviation = embeddings.mean(0), embeddings.std(0) + 1e-6

    def __call__(self, embeddings: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(((embeddings - self.mean) / self.deviation).astype(np.float32))


class LinearClassifier:
    """Logits of a linear layer. Without a standardiser, it takes embeddings as they are.

    Args:
        standardise: Standardisation of the embeddings.
        weight: Shape (D, C).
        bias: Shape (C,).
    """

    def __init__(self, standardise: _Standardiser | None, weight: Tensor, bias: Tensor) -> None:
        self.standardise, self.weight, self.bias = standardise, weight, bias

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, C) of embeddings (N, D)."""
        x = self.standardise(embeddings) if self.standardise else torch.from_numpy(embeddings)
        return torch.addmm(self.bias, x, self.weight).numpy()

    def head(self) -> Head:
        """Return the same as a head of a student."""
        statistics = (self.standardise.mean, self.standardise.deviation) if self.standardise else (0.0, 1.0)
        mean, deviation = (torch.as_tensor(values).expand(len(self.weight)).clone() for values in statistics)
        state = {"normalise.mean": mean, "normalise.deviation": deviation}
        return Head.from_state({**state, "linear.weight": self.weight.T.contiguous(), "linear.bias": self.bias})


class _Perceptron:
    """Logits of a network with one hidden layer."""

    def __init__(
        self, standardise: _Standardiser, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor
    ) -> None:
        self.standardise, self.hidden, self.out = standardise, (weight, bias), (out_weight, out_bias)

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        return F.linear(F.linear(self.standardise(embeddings), *self.hidden).relu(), *self.out).numpy()


class _Neighbours:
    """Scores by the vote of the `count` nearest clips of an index."""

    def __init__(self, index: object, truth: NDArray[np.float32], known: NDArray[np.bool_] | None, count: int) -> None:
        self.index, self.count = index, count
        self.known = np.ones(truth.shape, np.float32) if known is None else known.astype(np.float32)
        self.positive = truth * self.known
        self.frequency = self.positive.sum(0) / self.known.sum(0).clip(min=1)

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        cosines, rows = self.index.search(_unit_length(embeddings), self.count)  # type: ignore[attr-defined]
        weights = np.exp((cosines - 1) / 0.07)
        total, votes = (np.einsum("nk,nkc->nc", weights, cells[rows]) for cells in (self.known, self.positive))
        return np.where(total > 0, votes / total.clip(min=1e-12), self.frequency).astype(np.float32)


def _unit_length(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    return np.ascontiguousarray(embeddings / norms, dtype=np.float32)


def _loss(logits: Tensor, y: Tensor, known: Tensor | None, single: bool) -> Tensor:
    """Return cross entropy if every clip has one label, otherwise binary cross entropy over the annotated labels."""
    if single:
        return F.cross_entropy(logits, y)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return losses.mean() if known is None else (losses * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def _solve(
    x: Tensor, y: Tensor, known: Tensor | None, single: bool, strength: float, weight: Tensor, bias: Tensor
) -> None:
    """Minimise loss + strength / 2 * |weight|^2, starting from `weight` and `bias`, which are changed in place.

    The gradient is written by hand, which takes half of autograd's time.

    Args:
        x: Shape (N, D).
        y: Shape (N, C).
        known: Shape (N, C), bool; None: all labels were annotated.
        single: Whether every clip has exactly one label.
        strength: Factor of the L2 penalty.
        weight: Shape (D, C).
        bias: Shape (C,).
    """
    weight.requires_grad_(False)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=60, history_size=10, tolerance_grad=1e-5, tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    cells = len(x) if single else (y.numel() if known is None else int(known.sum()))

    def closure() -> Tensor:
        logits = torch.addmm(bias, x, weight)
        if single:
            log_sum = logits.logsumexp(1, keepdim=True)
            loss = (log_sum.squeeze(1) - (logits * y).sum(1)).sum()
            gradient = (logits - log_sum).exp_().sub_(y)
        else:
            losses = F.softplus(logits) - logits * y
            gradient = logits.sigmoid() - y
            if known is not None:
                losses, gradient = losses * known, gradient * known
            loss = losses.sum()
        gradient /= cells
        weight.grad = torch.addmm(weight, x.T, gradient, beta=strength)
        bias.grad = gradient.sum(0)
        return loss / cells + strength / 2 * weight.square().sum()

    optimizer.step(closure)
