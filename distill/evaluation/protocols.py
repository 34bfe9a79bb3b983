"""Classifiers that read frozen embeddings: each protocol is a function from training clips to candidates.

A candidate is one choice of hyper-parameters, trained; which of them is scored is decided elsewhere, on clips that are
not scored. Letters of shapes: N clips, D numbers of an embedding, C classes.
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

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of the L2 penalty, each solution the start of the next
NEIGHBOURS = (1, 5, 10, 20, 50)
EPOCHS = (5, 10, 20, 40, 80)
_OFFICIAL_EPOCHS = 1000
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (N, D) -> scores (N, C)


class Clips(NamedTuple):
    """Clips to learn from.

    Args:
        embeddings: Shape (N, D), float32.
        truth: 1 where a clip has a label. Shape (N, C), float32.
        known: False where the label was not annotated. None: all labels were annotated. Shape (N, C).
        single: Whether every clip has exactly one label.
    """

    embeddings: NDArray[np.float32]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_] | None
    single: bool

    def at(self, rows: NDArray[np.int64]) -> Clips:
        """Some of the clips."""
        known = None if self.known is None else self.known[rows]
        return Clips(self.embeddings[rows], self.truth[rows], known, self.single)


def linear(clips: Clips, seed: int) -> Iterator[Predict]:
    """Logistic regression on standardised embeddings with an L2 penalty, solved by L-BFGS; a candidate a strength."""
    scale = _Scale(clips.embeddings)
    x, y = scale(clips.embeddings), torch.from_numpy(clips.truth)
    known = None if clips.known is None else torch.from_numpy(clips.known)
    weight, bias = torch.zeros(x.shape[1], y.shape[1]), torch.zeros(y.shape[1])
    for strength in STRENGTHS:
        _solve(x, y, known, clips.single, strength, weight, bias)
        yield _Linear(scale, weight.clone(), bias.clone())


def mlp(clips: Clips, seed: int) -> Iterator[Predict]:
    """One hidden layer of 512 with dropout 0.25, AdamW at 1e-3 in batches of 128; a candidate a number of epochs."""
    scale = _Scale(clips.embeddings)
    x, y = scale(clips.embeddings), torch.from_numpy(clips.truth)
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
                frozen = [parameter.detach().clone() for parameter in network.parameters()]
                yield _Perceptron(scale, *frozen)


def knn(clips: Clips, seed: int) -> Iterator[Predict]:
    """Votes of the nearest clips by cosine, each weighed by it; a candidate a number of neighbours.

    Of a label only those vote of which it is known; where none of them is, it scores as among all known clips.
    """
    import faiss

    unit = _unit(clips.embeddings)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    for neighbours in NEIGHBOURS:
        yield _Neighbours(index, clips.truth, clips.known, min(neighbours, len(unit)))


def linear_best_test_epoch(clips: Clips, seed: int) -> Iterator[Predict]:
    """S-SONDO's notebook for ESC-50: embeddings as they are, Adam at 1e-3 in batches of 64; a candidate an epoch.

    The published scores are those of the best of 1000 epochs on the test fold: not to be compared with others.
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
            yield _Linear(None, head.weight.detach().T.clone(), head.bias.detach().clone())


@dataclass(frozen=True)
class Protocol:
    """How frozen embeddings are read.

    Args:
        name: Stands in every result.
        candidates: Trains them.
        chosen_on_test: Whether the candidate is chosen on the clips that are scored, which flatters.
        threshold: Score above which a label counts as given: that of even odds.
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


class _Scale:
    """To mean 0 and deviation 1 in each column of the training clips."""

    def __init__(self, embeddings: NDArray[np.float32]) -> None:
        self.mean, self.deviation = embeddings.mean(0), embeddings.std(0) + 1e-6

    def __call__(self, embeddings: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(((embeddings - self.mean) / self.deviation).astype(np.float32))


class _Linear:
    def __init__(self, scale: _Scale | None, weight: Tensor, bias: Tensor) -> None:
        self.scale, self.weight, self.bias = scale, weight, bias

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        x = self.scale(embeddings) if self.scale else torch.from_numpy(embeddings)
        return torch.addmm(self.bias, x, self.weight).numpy()


class _Perceptron:
    def __init__(self, scale: _Scale, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor) -> None:
        self.scale, self.hidden, self.out = scale, (weight, bias), (out_weight, out_bias)

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        return F.linear(F.linear(self.scale(embeddings), *self.hidden).relu(), *self.out).numpy()


class _Neighbours:
    def __init__(self, index: object, truth: NDArray[np.float32], known: NDArray[np.bool_] | None, count: int) -> None:
        self.index, self.count = index, count
        self.known = np.ones(truth.shape, np.float32) if known is None else known.astype(np.float32)
        self.positive = truth * self.known
        self.usual = self.positive.sum(0) / self.known.sum(0).clip(min=1)

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        cosines, rows = self.index.search(_unit(embeddings), self.count)  # type: ignore[attr-defined]
        weights = np.exp((cosines - 1) / 0.07)
        voted, votes = (np.einsum("nk,nkc->nc", weights, of[rows]) for of in (self.known, self.positive))
        return np.where(voted > 0, votes / voted.clip(min=1e-12), self.usual).astype(np.float32)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    return np.ascontiguousarray(embeddings / norms, dtype=np.float32)


def _loss(logits: Tensor, y: Tensor, known: Tensor | None, single: bool) -> Tensor:
    if single:
        return F.cross_entropy(logits, y)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return losses.mean() if known is None else (losses * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def _solve(
    x: Tensor, y: Tensor, known: Tensor | None, single: bool, strength: float, weight: Tensor, bias: Tensor
) -> None:
    """Minimise loss + strength / 2 * |weight|^2 from (weight, bias), in place. x (N, D), y (N, C).

    The gradient is written out, which takes half of autograd's time.
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
            normaliser = logits.logsumexp(1, keepdim=True)
            loss = (normaliser.squeeze(1) - (logits * y).sum(1)).sum()
            slope = (logits - normaliser).exp_().sub_(y)
        else:
            each = F.softplus(logits) - logits * y
            slope = logits.sigmoid() - y
            if known is not None:
                each, slope = each * known, slope * known
            loss = each.sum()
        slope /= cells
        weight.grad = torch.addmm(weight, x.T, slope, beta=strength)
        bias.grad = slope.sum(0)
        return loss / cells + strength / 2 * weight.square().sum()

    optimizer.step(closure)


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is fine-tuned. All of it is fixed beforehand; the last state is scored, not the best.

    Args:
        epochs: Passes over the training clips.
        learning_rate: At its highest; it rises in a tenth of the steps and falls as a cosine.
        batch_size: Clips in a batch.
    """

    epochs: int = 20
    learning_rate: float = 3e-4
    batch_size: int = 32
