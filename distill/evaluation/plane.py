"""The positions of embeddings on a plane, and the groups that colour them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.quality import standardise

MAX_GROUPS = 20
"""Groups with a colour of their own. Clips of other groups share the colour of `OTHERS`."""
OTHERS = "others"
NONE = "none"
_PRINCIPAL = 50  # components that t-SNE gets, as its authors recommend
_PERPLEXITY = 30.0
_MIN_POINTS = 5  # of t-SNE


@dataclass(frozen=True)
class Plane:
    """Positions of points on a plane.

    Args:
        positions: Shape (points, 2), float64.
        method: "t-SNE" or "PCA".
        has_tsne: Whether scikit-learn, which computes t-SNE, is installed.
    """

    positions: NDArray[np.float64]
    method: str
    has_tsne: bool = True


@dataclass(frozen=True)
class Grouping:
    """The groups of points, the largest first.

    Args:
        names: Names of the groups. `OTHERS` and `NONE` come last.
        codes: Place in `names` of each point, int64. Shape (points,).
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[str]) -> Grouping:
        """Return the groups of some values. The most frequent ones keep their names; an empty value is `NONE`."""
        counts = Counter(value for value in values if value)
        kept = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_GROUPS]
        names = dict.fromkeys(
            [*kept, *([OTHERS] if len(counts) > len(kept) else []), *([NONE] if "" in values else [])]
        )
        places = {name: place for place, name in enumerate(names)}
        found = [NONE if not value else value if value in places else OTHERS for value in values]
        return cls(tuple(names), np.array([places[name] for name in found], np.int64))


def plane_of(vectors: NDArray[np.float32]) -> Plane:
    """Compute positions on a plane, at which neighbouring points have similar vectors.

    The method is t-SNE (van der Maaten and Hinton, JMLR 2008) of the first 50 principal components of the standardised
    vectors, which begins with the first two. Without scikit-learn, and with fewer than 5 points, it is PCA.

    Args:
        vectors: Shape (points, dim).
    """
    components = _principal(standardise(vectors))
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return Plane(components[:, :2], "PCA", has_tsne=False)
    if len(vectors) < _MIN_POINTS or not components[:, 0].any():
        return Plane(components[:, :2], "PCA")
    first = components[:, :2] / components[:, 0].std() * 1e-4  # Kobak and Berens 2019
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(init=first.astype(np.float32), perplexity=perplexity, random_state=0)
    return Plane(tsne.fit_transform(components).astype(np.float64), "t-SNE")


def _principal(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first principal components of centred points, at least 2 and at most 50. Missing ones are 0."""
    left, values, _ = np.linalg.svd(points, full_matrices=False)
    components = (left * values)[:, :_PRINCIPAL]
    # The sign of a component is arbitrary: fixed, so that every machine draws the same picture.
    components *= np.where(components[np.abs(components).argmax(0), range(components.shape[1])] < 0, -1.0, 1.0)
    return np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))
