"""From a sampling policy to the order of draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.data.errors import UserError
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitOptions
from tests.distill.commands.test_fit import fit


@pytest.mark.parametrize(
    "sampling",
    [
        {"policy": "hierarchical", "levels": [6, 2]},
        {"policy": "cluster", "clusters": 3, "temper": 0.5, "max_repeats": 3.0},
        {"policy": "label"},
        {"duplicates": 0.999},
    ],
)
def test_other_ways_of_drawing(
    sampling: dict[str, Any], sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(12)
    if sampling.get("policy") == "label":
        rows = "".join(f"{path.relative_to(data)},{path.parent.name}\n" for path in sorted(data.rglob("*.wav")))
        data = data / "clips.csv"
        data.write_text("path,label\n" + rows)
    fit(data, tmp_path / "run", sampling=sampling)
    assert "effective number of clips" in capsys.readouterr().out
    run = Run(tmp_path / "run")
    assert Job(FitOptions.from_config(run.config)).resolved.as_config() == run.config


@pytest.mark.parametrize(
    ("sampling", "message"),
    [({"temper": 2.0}, "temper"), ({"max_repeats": 0.01}, "max_repeats")],
)
def test_ways_of_drawing_that_cannot_be(
    sampling: dict[str, Any], message: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        fit(sounds(12), tmp_path / "run", sampling=sampling)
