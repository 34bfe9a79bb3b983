"""Clips that are longer than an encoder's input, in the fingerprint of a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

import distill
from distill.data.clips.manifest import Manifest
from distill.data.encoders.encoder import Encoder
from distill.data.errors import StoreError
from distill.run.identity import identity
from distill.run.long_clips import long_clips_fingerprint
from tests.conftest import tone

Windows, Crop = distill.Windows, distill.Crop


def spectral(**windows: Any) -> Encoder:
    return distill.create_teacher("spectral", windows=Windows(**windows))


@pytest.mark.parametrize(
    ("windows", "crop", "expected"),
    [
        ({"seconds": 2.0}, 2.0, {}),  # no clip is longer than a window
        ({"seconds": 2.0}, 3.0, {"hop": 1.9}),
        ({"seconds": 2.0}, 0.0, {"hop": 1.9}),
        ({"seconds": 2.0, "hop": 0.0}, 0.0, {}),  # as an earlier version cut it
        ({"seconds": 2.0, "hop": 1.5}, 0.0, {}),
        ({"seconds": 0.0}, 120.0, {}),
        ({"seconds": 0.0}, 0.0, {"above_seconds": 120.0, "seconds": 10.0, "hop": 9.9}),
        ({"seconds": 0.0, "hop": 0.0}, 121.0, {"above_seconds": 120.0, "seconds": 10.0, "hop": 9.9}),
    ],
)
def test_the_fingerprint_states_what_earlier_versions_did_otherwise(
    windows: dict[str, float], crop: float, expected: dict[str, float], tmp_path: Path
) -> None:
    found = long_clips_fingerprint(spectral(**windows), Crop(crop), Manifest(tmp_path), tmp_path)
    assert found.get("long_clips", {}) == expected


def test_a_student_that_reads_long_clips_itself_has_none(tmp_path: Path) -> None:
    student = distill.create_student("hear", layers=1)
    assert long_clips_fingerprint(student, Crop(0), Manifest(tmp_path), tmp_path) == {}


def test_the_default_of_the_hop_does_not_change_the_identity() -> None:
    assert identity(spectral(seconds=2.0)) == identity(spectral(seconds=2.0, hop=0.0))
    assert identity(spectral(seconds=2.0)) != identity(spectral(seconds=2.0, hop=1.0))


@pytest.mark.parametrize(
    ("seconds", "windows", "refusal"),
    [
        (0.9, {"seconds": 1.0}, None),
        (
            2.5,
            {"seconds": 1.0},
            r"of more than 1 s into windows that do not overlap.*--teacher.windows.hop 0 continues",
        ),
        (2.5, {"seconds": 1.0, "hop": 0.0}, None),
        (2.5, {"seconds": 0.0}, None),
        (125.0, {"seconds": 0.0}, r"more than 120 s whole, such as b\.wav: --teacher precomputed --teacher\.store"),
    ],
)
def test_a_store_of_an_earlier_version(
    seconds: float, windows: dict[str, float], refusal: str | None, tmp_path: Path
) -> None:
    for name, length in (("a", 0.5), ("b", seconds)):
        (tmp_path / "sounds").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "sounds" / f"{name}.wav", tone(400, length, 8_000), 8_000)
    data, out = str(tmp_path / "sounds"), tmp_path / "store"

    def embed(**windows: float) -> None:
        distill.embed(data, str(out), teacher=spectral(**windows), crop=Crop(0), workers=0)

    embed(**windows)
    plan = json.loads((out / "plan.json").read_text())
    plan["fingerprint"].pop("long_clips", None)  # the key is new
    (out / "plan.json").write_text(json.dumps(plan))
    before = (out / "00000.bin").stat().st_mtime_ns
    if refusal is None:
        embed(**windows)
    else:
        with pytest.raises(StoreError, match=refusal):
            embed(**windows)
        if windows["seconds"]:
            embed(**windows | {"hop": 0.0})
    assert (out / "00000.bin").stat().st_mtime_ns == before
