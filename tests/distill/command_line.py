"""Words of command lines that several tests use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ON_CPU = ["--engine.workers=0", "--engine.accelerator=cpu", "--batch_size=4", "--epochs=1"]


def words_of(component: str, options: Mapping[str, Any]) -> list[str]:
    """Return the words that set options of a component, such as "--student.width=2"."""
    return [f"--{component}.{name}={value}" for name, value in options.items()]
