"""Run the benchmarks named on the command line, or all. Each writes its section of BENCHMARKS.md."""

from __future__ import annotations

import sys
from importlib import import_module

from distill.teachers.pretrained import torchaudio_fault

NAMES = (
    "start",
    "manifest",
    "store",
    "containers",
    "pipeline",
    "encoders",
    "hear",
    "learning_data",
    "masked_training",
    "devices",
)

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"unknown benchmark {name!r}; known: {', '.join(NAMES)}")
        try:
            benchmark = import_module(name)
        except (ImportError, OSError) as error:  # some compare with torchaudio
            sys.exit(f"{name}: {torchaudio_fault() or error}")
        benchmark.main()
