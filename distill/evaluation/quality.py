"""Quality of an embedding without labels: agreement with a teacher, rank, and sensitivity to changes of the sound.

Letters of shapes: N clips, Q queries, D size of the student's embedding, T size of the teacher's. `queries` are the
row indices (Q,) of the clips that are measured; `None` means all. All other clips serve as neighbours and for the
regression. A measure is NaN if there are too few clips, or if the teacher's embedding is constant or not finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Rows = NDArray[np.int64]

NEIGHBOURS = 10
_MIN_CLIPS = 3  # with two clips, each is the other's neighbour in every space
_MIN_REGRESSION_CLIPS = 20
_STRENGTHS = np.logspace(-4, 3, 15)  # of the ridge penalty, in units of the number of clips
_MIN_DEVIATION = 1e-6  # relative; a lower deviation of a column is the rounding error of float32


class Agreement(NamedTuple):
    """Agreement of an embedding with that of a teacher.

    Args:
        neighbours: Share of the nearest neighbours that both have in common, from 0 to 1.
        recall_1: Share of the clips whose own teacher vector is the nearest to the predicted one.
        recall_10: Share of the clips whose own teacher vector is among the ten nearest to the predicted one.
        r2: R^2 of the prediction of the teacher's standardised vectors by ridge regression, at most 1.
    """

    neighbours: float
    recall_1: float
    recall_10: float
    r2: float


def agreement(student: Vectors, teacher: Vectors, queries: Rows | None = None) -> Agreement:
    """Compute all measures of agreement.

    Ridge regression maps the student's embedding to the teacher's standardised space (see `ridge_predictions`), for
    `r2` and for the recalls. All N teacher vectors are ranked by their cosine with a prediction. Equal cosines count
    against a clip. `r2` is 1 minus the share of the variance, about the mean of all clips, that is not predicted.

    Args:
        student: Shape (N, D).
        teacher: Shape (N, T).
        queries: Rows that are measured. Shape (Q,). None means all rows.
    """
    queries = _rows(student, queries)
    neighbours = common_neighbours(student, teacher, queries)
    if not _usable(student, teacher, queries, _MIN_REGRESSION_CLIPS):
        return Agreement(neighbours, math.nan, math.nan, math.nan)
    targets = standardise(teacher)
    predictions, own = ridge_predictions(standardise(student), targets)[queries], targets[queries]
    ranks = _ranks_of_own(predictions, targets, queries)
    r2 = 1 - np.square(own - predictions).sum() / np.square(own).sum()
    return Agreement(neighbours, float((ranks < 1).mean()), float((ranks < 10).mean()), float(r2))


class Recalls(NamedTuple):
    """How often the own teacher vector of a clip is found by the student's vector in the space of the teacher.

    Args:
        recall_1: Share of the clips whose own teacher vector is the nearest.
        recall_10: Share of the clips whose own teacher vector is among the ten nearest.
    """

    recall_1: float
    recall_10: float


def recalls(answers: Vectors, teacher: Vectors, queries: Rows | None = None) -> Recalls:
    """Search all teacher vectors with the answers of a student in the space of the teacher.

    They are compared by the cosine of vectors that are standardised by the teacher's, as `distill search` does.

    Args:
        answers: Vectors of the student in the space of the teacher. Shape (N, T).
        teacher: Shape (N, T).
        queries: Rows that are measured. Shape (Q,). None means all rows.
    """
    queries = _rows(answers, queries)
    if not _usable(answers, teacher, queries, _MIN_CLIPS):
        return Recalls(math.nan, math.nan)
    ranks = _ranks_of_own(_standardise_by(teacher, answers[queries]), standardise(teacher), queries)
    return Recalls(float((ranks < 1).mean()), float((ranks < 10).mean()))


def standardise(vectors: Vectors) -> NDArray[np.float64]:
    """Return vectors (N, D) with mean 0 and variance 1 in each column, float64. A constant column becomes 0."""
    centred = vectors - vectors.mean(0, dtype=np.float64)
    deviation = centred.std(0)
    noise = _MIN_DEVIATION * np.maximum(np.abs(vectors).mean(0), deviation.max(initial=0))
    varies = deviation > noise
    return np.where(varies, centred, 0) / np.where(varies, deviation, 1)


def common_neighbours(student: Vectors, teacher: Vectors, queries: Rows | None = None, k: int = NEIGHBOURS) -> float:
    """Compute the mean share of a clip's nearest neighbours that two embeddings have in common.

    Neighbours are those of the greatest cosine between standardised vectors, without the clip itself.

    Args:
        student: Shape (N, D).
        teacher: Shape (N, T).
        queries: Rows whose neighbours are compared. Shape (Q,). None means all rows.
        k: Number of neighbours, at most N - 1.

    Returns:
        A share from 0 to 1. A constant student has 0. NaN for fewer than three clips, no query or a constant teacher.
    """
    queries = _rows(student, queries)
    if not _usable(student, teacher, queries, _MIN_CLIPS):
        return float("nan")
    k = min(k, len(student) - 1)
    ours, theirs = _unit(standardise(student)), _unit(standardise(teacher))
    near, expected = _nearest(ours, queries, k), _nearest(theirs, queries, k)
    # The neighbours of a zero vector are arbitrary.
    has_neighbours, counted = ours[queries].any(1), theirs[queries].any(1)
    shared = (near[:, :, None] == expected[:, None, :]).sum((1, 2)) * has_neighbours
    return float(shared[counted].mean() / k) if counted.any() else float("nan")


def ridge_predictions(inputs: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predict targets (N, T) from inputs (N, D) by ridge regression, each half of the clips from the other half.

    The halves are random, with a fixed seed. The penalty is that with the least leave-one-out error in the half that
    is fitted.

    Returns:
        Shape (N, T).
    """
    order = np.random.default_rng(0).permutation(len(inputs))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    predictions = np.empty_like(targets)
    for fitted, read in ((first, second), (second, first)):
        centre, mean = inputs[fitted].mean(0), targets[fitted].mean(0)
        weights = ridge_weights(inputs[fitted] - centre, targets[fitted] - mean)
        predictions[read] = (inputs[read] - centre) @ weights + mean
    return predictions


def ridge_weights(inputs: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit centred targets (N, T) to centred inputs (N, D) by ridge regression.

    The leave-one-out error of every penalty is exact and needs one singular value decomposition (Golub, Heath and
    Wahba 1979, section 1).

    Returns:
        Weights. Shape (D, T).
    """
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    projected, power = left.T @ targets, np.square(values)

    def error(strength: float) -> float:
        kept = power / (power + strength * len(inputs))
        leverage = np.square(left) @ kept + 1 / len(inputs)  # 1 / N is that of the mean
        residual = targets - left @ (kept[:, None] * projected)
        return float(np.square(residual / np.maximum(1 - leverage, 1e-9)[:, None]).sum())

    strength = min(_STRENGTHS.tolist(), key=error)
    shrunk = values / (power + strength * len(inputs))
    return right.T @ (shrunk[:, None] * projected)


def sensitivity(clean: Vectors, changed: Vectors) -> float:
    """Compute the relative distance between the embeddings of clips before and after a change of the sound.

    The distance is Euclidean, between vectors standardised by the unchanged clips. It is divided by the mean distance
    of two different unchanged clips. So it does not depend on the scale of the embedding, nor on a common offset, as
    a cosine does.

    Args:
        clean: Embeddings of the unchanged clips. Shape (N, D).
        changed: Embeddings of the changed clips, in the same order. Shape (N, D).

    Returns:
        0 if the change has no effect, 1 if it has the effect of another clip. NaN for fewer than three clips or a
        constant embedding.
    """
    if len(clean) < _MIN_CLIPS or not (np.isfinite(clean).all() and np.isfinite(changed).all()):
        return float("nan")
    both = _standardise_by(clean, np.concatenate([clean, changed]))
    before, after = both[: len(clean)], both[len(clean) :]
    products = before @ before.T
    squares = np.diag(products)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0))[~np.eye(len(clean), dtype=bool)].mean()
    return float(np.linalg.norm(after - before, axis=1).mean() / between) if between > 0 else float("nan")


def crop_matches(first: Vectors, second: Vectors) -> NDArray[np.bool_]:
    """Return whether the second crop of each clip is the nearest second crop to its first crop.

    Crops are compared by the cosine of vectors that are standardised over both crops. Equal cosines count against a
    clip.

    Args:
        first: Embeddings of a crop of each clip. Shape (N, D).
        second: Embeddings of another crop of the same clips. Shape (N, D).

    Returns:
        Shape (N,).
    """
    vectors = _unit(standardise(np.concatenate([first, second])))
    cosines = vectors[: len(first)] @ vectors[len(first) :].T
    return (cosines >= np.diag(cosines)[:, None]).sum(1) == 1


def _ranks_of_own(predictions: NDArray[np.float64], targets: NDArray[np.float64], queries: Rows) -> Rows:
    """Return the rank, from 0, of each query's own target (N, T) by its cosine with the prediction (Q, T)."""
    cosines = _unit(predictions) @ _unit(targets).T
    own = cosines[np.arange(len(queries)), queries]
    return (cosines >= own[:, None]).sum(1) - 1


def _usable(student: Vectors, teacher: Vectors, queries: Rows, clips: int) -> bool:
    """Return whether there are enough clips, and finite embeddings of a teacher that is not constant."""
    finite = np.isfinite(student).all() and np.isfinite(teacher).all()
    return bool(len(student) >= clips and len(queries) and finite and standardise(teacher).any())


def _rows(vectors: Vectors, queries: Rows | None) -> Rows:
    return np.arange(len(vectors)) if queries is None else queries


def _standardise_by(reference: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """Return vectors (M, D), standardised by the mean and deviation of the reference (N, D)."""
    deviation = reference.std(0, dtype=np.float64)
    scale = np.where(standardise(reference).any(0), 1 / np.where(deviation > 0, deviation, 1), 0)
    return (vectors - reference.mean(0, dtype=np.float64)) * scale


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1; a zero row stays zero."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def _nearest(vectors: NDArray[np.float64], queries: Rows, k: int) -> Rows:
    """Return the rows of the k greatest cosines with each query, without itself. Shape (Q, k)."""
    cosines = vectors[queries] @ vectors.T
    cosines[np.arange(len(queries)), queries] = -np.inf
    # A stable sort: equal cosines have the order of the clips in every space.
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]
