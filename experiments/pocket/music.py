"""Render notes of General MIDI instruments with fluidsynth."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pocket.signals import Sound

RATE = 16_000
FONTS = tuple(Path("/usr/share/sounds/sf2") / name for name in ("FluidR3_GM.sf2", "TimGM6mb.sf2"))
FAMILIES = {
    "bass": range(32, 40), "brass": range(56, 64), "flute": range(72, 80), "guitar": range(24, 32),
    "keyboard": range(8), "mallet": range(8, 16), "organ": range(16, 24), "reed": range(64, 72),
    "string": (40, 41, 42, 43, 44, 45, 48, 49), "synth_lead": (80, 81, 82, 83, 84, 86, 87, 90),
    "vocal": (52, 53, 54, 85, 91),
}  # fmt: skip
Note = tuple[tuple[int, ...], int]  # pitches that sound together, and velocity


def play(program: int, notes: Sequence[Note], font: Path, slot: float, held: float) -> list[Sound]:
    """Render each note alone, `slot` seconds long and held for `held` seconds, in one run of the synthesiser."""
    events = [(0.0, bytes([0xC0, program]))]
    for number, (pitches, velocity) in enumerate(notes):
        for pitch in pitches:
            events.append((number * slot + 0.02, bytes([0x90, pitch, velocity])))
            events.append((number * slot + held, bytes([0x80, pitch, 0])))
    sound = _render([*events, (len(notes) * slot + 0.1, bytes([0x80, 0, 0]))], font)
    size = int(slot * RATE)
    sound = np.pad(sound, (0, max(0, len(notes) * size - len(sound))))
    return [sound[number * size : (number + 1) * size] for number in range(len(notes))]


def _render(events: list[tuple[float, bytes]], font: Path) -> Sound:
    with tempfile.TemporaryDirectory() as folder:
        score, raw = Path(folder, "score.mid"), Path(folder, "sound.raw")
        score.write_bytes(_midi(events))
        command = (
            f"fluidsynth -niq -R 0 -C 0 -g 0.6 -r {RATE} -o synth.cpu-cores=1 -T raw -O s16 -F {raw} {font} {score}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        return np.fromfile(raw, "<i2").reshape(-1, 2).mean(1) / 32768.0


def _midi(events: list[tuple[float, bytes]]) -> bytes:
    """Return a standard MIDI file of one track, at 1000 ticks per second."""
    track, now = b"\x00\xff\x51\x03" + struct.pack(">I", 1_000_000)[1:], 0
    for second, message in sorted(events, key=lambda event: event[0]):
        tick = round(second * 1000)
        track += _variable(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1000) + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable(number: int) -> bytes:
    """Encode a number in MIDI's variable length: seven bits per byte, the last byte without the high bit."""
    groups = [number & 127]
    while number := number >> 7:
        groups.append((number & 127) | 128)
    return bytes(reversed(groups))
