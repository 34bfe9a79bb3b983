"""The sounds of the demo: their size, origins, licences and splits, and that a table of fewer clips is one of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.demo import SOUNDS, copy_sounds
from experiments.demo_sounds.make import FAMILIES, held_out_instruments, instrument


def rows_of(name: str, folder: Path = SOUNDS) -> list[dict[str, str]]:
    with open(folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def place(row: dict[str, str]) -> tuple[str, str, str]:
    return row["path"], row["start"], row["end"]


def test_the_sounds_are_small_and_every_one_has_an_origin_and_a_licence_that_lets_us_ship_it() -> None:
    assert sum(path.stat().st_size for path in SOUNDS.rglob("*")) < 8e6
    origins = {place(row): row for row in rows_of("origins.csv")}
    assert {row["licence"] for row in origins.values()} == {"MIT", "CC0-1.0"}
    assert all(row["author"] and row["source"] and row["name"] for row in origins.values())
    assert {place(row) for row in rows_of("notes.csv")} | {place(row) for row in rows_of("pool.csv")} == set(origins)
    assert {f"audio/{path.name}" for path in (SOUNDS / "audio").iterdir()} == {path for path, _, _ in origins}
    for licence in ("LICENCE-FluidR3", "LICENCE-CC0-1.0"):
        assert (SOUNDS / licence).stat().st_size > 1000


def test_no_instrument_of_the_test_part_is_in_the_pool_or_the_training_part() -> None:
    notes = rows_of("notes.csv")
    test = {row["path"] for row in notes if row["split"] == "test"}
    assert test == {f"audio/{name}.ogg" for name in held_out_instruments()}
    assert not test & {row["path"] for row in notes if row["split"] == "train"}
    assert not test & {row["path"] for row in rows_of("pool.csv")}
    families = {row["label"] for row in notes}
    assert families == set(FAMILIES) == {row["label"] for row in notes if row["split"] == "test"}


@pytest.mark.parametrize("name", ["audio/cello.ogg", "audio/sonic_loop.ogg"])
def test_a_sound_is_read_from_the_middle_of_its_file_as_from_the_whole(name: str) -> None:
    whole, rate = soundfile.read(SOUNDS / name)
    for row in (row for row in rows_of("origins.csv") if row["path"] == name):
        start, end = (round(float(row[edge]) * rate) for edge in ("start", "end"))
        assert 0.1 * rate <= end - start <= 2 * rate + 1
        part, _ = soundfile.read(SOUNDS / name, start=start, stop=end)
        np.testing.assert_allclose(part, whole[start:end], atol=1e-4)


def test_a_sample_belongs_to_one_instrument_or_to_none() -> None:
    assert instrument("Steel_Drum_C_6") == ("steel_drum", "mallet")
    assert instrument("Steel_A3") == ("steel_guitar", "guitar")
    assert instrument("808_Clap") == ("fluid_other", "")


def test_fewer_clips_are_spread_over_the_table(tmp_path: Path) -> None:
    copy_sounds(tmp_path, 60)
    chosen, all_rows = rows_of("notes.csv", tmp_path), rows_of("notes.csv")
    assert len(chosen) == len(rows_of("pool.csv", tmp_path)) == 60
    assert all(row in all_rows for row in chosen)
    assert {row["label"] for row in chosen} == set(FAMILIES)
    copy_sounds(tmp_path, 0)
    assert rows_of("notes.csv", tmp_path) == all_rows
