"""Run the benchmarks named on the command line, or all. Each writes its section of BENCHMARKS.md."""

from __future__ import annotations

import sys
from importlib import import_module

from distill.run.memory import keep_freed_memory

NAMES = ("start", "pipeline", "encoders", "hear", "learning_data", "masked_training")

if __name__ == "__main__":
    keep_freed_memory()  # as `distill` does; it applies to the rivals too
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"unknown benchmark {name!r}; known: {', '.join(NAMES)}")
        import_module(name).main()
