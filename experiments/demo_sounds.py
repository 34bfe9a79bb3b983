"""Render twelve kinds of sound with numpy alone: labelled, varied, noisy, and equal for equal seeds."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SAMPLES = SAMPLE_RATE  # one second
Sound = NDArray[np.float64]
TIME = np.arange(SAMPLES) / SAMPLE_RATE


def render(folder: Path, clips_per_class: int = 90, seed: int = 0) -> Path:
    """Write `clips_per_class` WAV files of each class and clips.csv (path, label, split); a fifth is the test part.

    Returns:
        The path of clips.csv.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (label, make) in enumerate(CLASSES.items()):
        for take in range(clips_per_class):
            random = np.random.default_rng([seed, number, take])
            name = f"audio/{label}_{take:03d}.wav"
            soundfile.write(folder / name, _recorded(make(random), random), SAMPLE_RATE, subtype="PCM_16")
            rows.append((name, label, "test" if take % 5 == 0 else "train"))
    for file_name, splits in (("clips.csv", {"train", "test"}), ("train.csv", {"train"})):
        with open(folder / file_name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "split"))
            writer.writerows(row for row in rows if row[2] in splits)
    return folder / "clips.csv"


def _recorded(sound: Sound, random: np.random.Generator) -> Sound:
    """Add a random start, room, microphone, background noise and level."""
    sound = np.roll(sound, int(random.integers(SAMPLES // 4)))
    echo = np.zeros_like(sound)
    delay = int(random.uniform(0.005, 0.05) * SAMPLE_RATE)
    echo[delay:] = sound[:-delay] * random.uniform(0, 0.5)
    spectrum = np.fft.rfft(
        _unit(sound + echo) + _unit(_noise(random, random.uniform(-1.5, 0))) * random.uniform(0.1, 0.9)
    )
    tilt = (np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE) / 1000 + 0.05) ** random.uniform(-0.8, 0.8)
    mixed = np.fft.irfft(spectrum * tilt, SAMPLES)
    return mixed / np.abs(mixed).max() * random.uniform(0.1, 0.9)


def _unit(sound: Sound) -> Sound:
    return sound / (np.sqrt(np.mean(sound**2)) + 1e-9)


def _noise(random: np.random.Generator, slope: float, low: float = 30.0, high: float = 8000.0) -> Sound:
    """Return noise between two frequencies in Hz; its amplitude is the frequency to the power of `slope`."""
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    gains = np.where((frequencies >= low) & (frequencies <= high), np.maximum(frequencies, 1.0) ** slope, 0.0)
    phases = random.standard_normal(len(gains)) + 1j * random.standard_normal(len(gains))
    return _unit(np.fft.irfft(gains * phases, SAMPLES))


def _tone(frequency: float | Sound, partials: Sound) -> Sound:
    """Return harmonics of a frequency in Hz (constant, or one for each sample), with the given amplitudes."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, SAMPLES)) / SAMPLE_RATE
    below_nyquist = np.max(frequency) * np.arange(1, len(partials) + 1) < SAMPLE_RATE / 2
    waves = [a * np.sin((k + 1) * phase) for k, a in enumerate(partials) if below_nyquist[k]]
    return np.sum(waves, axis=0)


def _decay(start: float, seconds: float) -> Sound:
    """Return an envelope that starts suddenly at `start` and decays over `seconds`."""
    after = TIME - start
    return np.where(after >= 0, np.exp(-np.maximum(after, 0) / seconds), 0.0)


def _hum(r: np.random.Generator) -> Sound:
    return _tone(r.uniform(45, 130), r.uniform(0.2, 1, 12))


def _whistle(r: np.random.Generator) -> Sound:
    vibrato = 1 + 0.03 * np.sin(2 * np.pi * r.uniform(3, 8) * TIME)
    return _tone(r.uniform(900, 2500) * vibrato, np.array([1.0, 0.1])) + 0.1 * _noise(r, 0)


def _chirp(r: np.random.Generator) -> Sound:
    ends = np.sort(r.uniform(1500, 6000, 2))[:: r.choice([-1, 1])]
    sweep = np.interp((TIME * r.uniform(4, 9)) % 1, [0, 1], ends)
    return _tone(sweep, np.array([1.0])) * (r.uniform(0.4, 0.8) > (TIME * 3) % 1)


def _siren(r: np.random.Generator) -> Sound:
    glide = r.uniform(500, 1200) * (1 + 0.4 * np.sin(2 * np.pi * r.uniform(0.8, 2.5) * TIME + r.uniform(0, 6)))
    return _tone(glide, 1 / np.arange(1, 7))


def _bell(r: np.random.Generator) -> Sound:
    base, ratios = r.uniform(250, 800), (1, 2.0, 2.76, 4.07, 5.4)
    return sum(np.sin(2 * np.pi * base * k * TIME) * _decay(0.05, r.uniform(0.2, 0.6) / k) for k in ratios)  # type: ignore[return-value]


def _pluck(r: np.random.Generator) -> Sound:
    base, partials = r.uniform(80, 500), r.uniform(0.3, 1, 16)
    sounds = [_tone(base * (k + 1), np.array([a])) * _decay(0.05, 0.5 / (k + 1)) for k, a in enumerate(partials)]
    return np.sum(sounds, axis=0)


def _clicks(r: np.random.Generator) -> Sound:
    times = np.arange(0.02, 1, 1 / r.uniform(3, 12))
    return _noise(r, 0, 1000) * sum(_decay(t, 0.004) for t in times)


def _footsteps(r: np.random.Generator) -> Sound:
    times = np.arange(r.uniform(0, 0.2), 1, 1 / r.uniform(1.6, 3))
    return _noise(r, -0.8, 40, 900) * sum(_decay(t, r.uniform(0.03, 0.06)) for t in times)


def _rain(r: np.random.Generator) -> Sound:
    drops = np.zeros(SAMPLES)
    drops[r.integers(SAMPLES, size=r.integers(150, 600))] = r.uniform(0.2, 1)
    return np.convolve(drops, r.standard_normal(60) * np.exp(-np.arange(60) / 15), "same") + 0.05 * _noise(r, 0)


def _waves(r: np.random.Generator) -> Sound:
    swell = 1 + np.sin(2 * np.pi * r.uniform(0.5, 1.2) * TIME + r.uniform(0, 6))
    return _noise(r, -0.6, 60, 6000) * (0.1 + swell**2)


def _engine(r: np.random.Generator) -> Sound:
    speed = r.uniform(18, 40) * (1 + 0.05 * np.sin(2 * np.pi * r.uniform(0.5, 2) * TIME))
    throb = _tone(speed, r.uniform(0.3, 1, 20) / np.sqrt(np.arange(1, 21)))
    return throb * (1 + 0.3 * _noise(r, 0, 5, 100)) + 0.4 * _noise(r, -0.5, 80, 3000)


def _voice(r: np.random.Generator) -> Sound:
    pitch = r.uniform(90, 260) * (1 + 0.1 * np.sin(2 * np.pi * r.uniform(0.5, 2) * TIME + r.uniform(0, 6)))
    buzz = np.fft.rfft(_tone(pitch, 1 / np.arange(1, 40)))
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    formants = sum(
        np.exp(-(((frequencies - centre) / 120) ** 2))
        for centre in (r.uniform(300, 800), r.uniform(900, 2200), r.uniform(2300, 3200))
    )
    syllables = 0.2 + np.maximum(0, np.sin(2 * np.pi * r.uniform(2, 5) * TIME))
    return np.fft.irfft(buzz * formants, SAMPLES) * syllables


CLASSES: dict[str, Callable[[np.random.Generator], Sound]] = {
    "bell": _bell,
    "chirp": _chirp,
    "clicks": _clicks,
    "engine": _engine,
    "footsteps": _footsteps,
    "hum": _hum,
    "pluck": _pluck,
    "rain": _rain,
    "siren": _siren,
    "voice": _voice,
    "waves": _waves,
    "whistle": _whistle,
}
