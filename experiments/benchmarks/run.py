"""Run the benchmarks named on the command line, or all. Each writes what it measures into its section of BENCHMARKS.md.

A row below its goal is marked there, and listed at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from measure import BENCHMARKS

from distill.teachers.pretrained import torchaudio_fault

NAMES = (
    "start",
    "manifest",
    "store",
    "store_files",
    "containers",
    "pipeline",
    "embed",
    "encoders",
    "hear",
    "hear_costs",
    "training_step",
    "batches",
    "learning_data",
    "masked_training",
    "devices",
    "students",
)


def main(names: Sequence[str]) -> None:
    """Run benchmarks by name. Exit with a message for an unknown name, and for one that this machine cannot run."""
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"unknown benchmark {unknown[0]!r}; known: {', '.join(NAMES)}")
    for name in names:
        try:
            benchmark = import_module(name)
        except (ImportError, OSError) as error:  # some compare with torchaudio
            sys.exit(f"{name}: {torchaudio_fault() or error}")
        benchmark.main()
    missed = [line for line in BENCHMARKS.read_text().splitlines() if line.endswith("(missed) |")]
    print(f"\nbelow their goals in BENCHMARKS.md: {len(missed)}", *missed, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
