"""The share of a batch that is padding, for clips of unequal length in the batches that `distill fit` makes."""

from __future__ import annotations

import numpy as np
from measure import Row, table, write_section

import distill
from distill.data.clips.dataset import Crop
from distill.data.sampling.batches import BatchSampler, useful_share
from distill.data.sampling.orders import UniformOrder
from distill.run.options import FitOptions
from distill.run.recipe import plan

CLIPS, SHORTEST, LONGEST = 10_000, 0.1, 3.0  # seconds
GOAL = 0.1


def padding(seconds: np.ndarray, batch_size: int, by_length: bool) -> float:
    batches = BatchSampler(UniformOrder(CLIPS), batch_size, CLIPS // batch_size, lengths=seconds if by_length else None)
    return 1 - useful_share(seconds, list(batches))


def main() -> None:
    seconds = np.random.default_rng(0).uniform(SHORTEST, LONGEST, CLIPS).astype(np.float32)
    rows = []
    for name in ("cnn", "hear", "mobilenet_v3"):
        chosen = plan(FitOptions(crop=Crop(10.0)), CLIPS, {}, distill.create_student(name))
        case = f"`{name}`, batches of {chosen.batch_size}, {'similar' if chosen.by_length else 'all'} lengths"
        rows.append(Row(case, padding(seconds, chosen.batch_size, chosen.by_length), None, GOAL, unit="of a batch"))
    lines = [
        *table(rows),
        "",
        f"{CLIPS:,} clips of {SHORTEST:g} to {LONGEST:g} s, evenly distributed, with the defaults of `distill fit` and",
        "a crop of 10 s: the share of a batch that is padding, over an epoch. Which students get batches of similar",
        "length, and why others do not, is told in [Real sound](#real-sound). `--sampling.by_length` changes it.",
    ]
    write_section("Padding in a batch", lines, "batches")


if __name__ == "__main__":
    main()
