"""What a run is told beside its parts: how clips are drawn, how weights learn, and where it computes."""

from __future__ import annotations

from dataclasses import dataclass

POLICIES = ("uniform", "cluster", "hierarchical", "label")


@dataclass(frozen=True)
class Sampling:
    """How training clips are drawn.

    Args:
        policy: "uniform"; "cluster": every cluster of the teacher's embeddings equally often (S-SONDO);
            "hierarchical": clusters of clusters, half of them of an even cover, which spread more evenly over all
            kinds of sound; or "label": rare labels more often (EfficientAT).
        clusters: How many clusters.
        levels: Clusters of each level of the hierarchy, the finest first; none chooses by the number of clips.
        temper: From 0, uniform, to 1, the policy as it is.
        max_repeats: Times that a clip is drawn in an epoch at the most, a fraction rounded up; 0 sets no limit.
        duplicates: Cosine from which clips are duplicates that share the draws of one; 0 looks for none.
        draws: Clips in an epoch; 0 is as many as there are.
    """

    policy: str = "uniform"
    clusters: int = 50
    levels: tuple[int, ...] = ()
    temper: float = 1.0
    max_repeats: float = 0.0
    duplicates: float = 0.0
    draws: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: one of {', '.join(POLICIES)} is wanted")
        if not 0 <= self.temper <= 1 or not 0 <= self.duplicates <= 1 or self.max_repeats < 0:
            raise ValueError("sampling: temper and duplicates lie from 0 to 1, and max_repeats is not below 0")

    @property
    def needs_store(self) -> str:
        """What is made from the teacher's stored embeddings, in words, where something is."""
        if self.policy in ("cluster", "hierarchical"):
            return "clusters"
        return "near-duplicates" if self.duplicates else ""
