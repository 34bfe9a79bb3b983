"""Runs the benchmarks named on the command line, or all; each writes its section of BENCHMARKS.md."""

from __future__ import annotations

import sys
from importlib import import_module

from distill.run.memory import keep_freed_memory

NAMES = ("start", "pipeline", "encoders", "hear", "learning_data", "masked_training")

if __name__ == "__main__":
    keep_freed_memory()  # as `distill` does; for the rivals too
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"no benchmark {name!r}; there are: {', '.join(NAMES)}")
        import_module(name).main()
