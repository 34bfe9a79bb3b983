"""Sounds that every machine writes byte by byte alike: sawtooths and noise, computed in whole numbers."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

RATE, SAMPLES = 8_000, 4_000


def write_sound(path: Path, number: int) -> None:
    """Write a sawtooth of 16 bits; odd numbers have twice the frequency of even ones."""
    time = np.arange(SAMPLES, dtype=np.int64)
    sawtooth = (time * (2_500 + 100 * number) * (1 + number % 2)) % 65_536 - 32_768
    noise = (time * time * 40_503 + number * 7_919 * time) % 65_536 - 32_768
    samples = (sawtooth // 4 + noise // 64).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, SAMPLES, "NONE", ""))
        file.writeframes(samples.tobytes())


def write_sounds(folder: Path) -> None:
    """Write `sounds`, a folder of two classes, and `esc50`, the same sounds in the layout of ESC-50."""
    rows = ["filename,fold,target,category"]
    for number in range(12):
        write_sound(folder / "sounds" / f"class{number % 2}" / f"{number:03d}.wav", number)
        name = f"{number % 4 + 1}-{number}-A-{number % 2}.wav"
        write_sound(folder / "esc50" / "audio" / name, number)
        rows.append(f"{name},{number % 4 + 1},{number % 2},class{number % 2}")
    (folder / "esc50" / "meta").mkdir(exist_ok=True)
    (folder / "esc50" / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    write_sounds(Path(sys.argv[1]))
