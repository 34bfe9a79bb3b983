"""Parts of synthetic sounds, and effects of a recording. Each function draws from the generator in its arguments."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]
Random = np.random.Generator


def generator(seed: int, *key: object) -> Random:
    """Return random numbers of a seed and a name, independent of the order of rendering."""
    return np.random.default_rng([seed, zlib.crc32("|".join(map(str, key)).encode())])


def unit(sound: Sound) -> Sound:
    """Scale a sound to a root mean square of 1."""
    return sound / (np.sqrt(np.mean(sound**2)) + 1e-9)


def shaped(sound: Sound, rate: int, gain: Callable[[Sound], Sound]) -> Sound:
    """Multiply each frequency in Hz by its `gain`."""
    spectrum = np.fft.rfft(sound)
    return np.fft.irfft(spectrum * gain(np.maximum(np.fft.rfftfreq(len(sound), 1 / rate), 10.0)), len(sound))


def noise(
    random: Random, samples: int, rate: int, low: float = 30.0, high: float = 8000.0, slope: float = 0.0
) -> Sound:
    """Return noise between two frequencies in Hz; its amplitude is the frequency to the power of `slope`."""

    def gain(hertz: Sound) -> Sound:
        return (hertz / 1000) ** slope / np.sqrt((1 + (low / hertz) ** 4) * (1 + (hertz / high) ** 4))

    return unit(shaped(random.standard_normal(samples), rate, gain))


def wander(random: Random, samples: int, rate: int, turns: float, low: float, high: float) -> Sound:
    """Return a slow random line between two values, with `turns` turns per second."""
    points = int(samples / rate * turns) + 3
    return np.interp(np.arange(samples) / rate * turns, np.arange(points), random.uniform(low, high, points))


def tone(hertz: Sound | float, samples: int, rate: int, harmonics: Sound | tuple[float, ...] = (1.0,)) -> Sound:
    """Return harmonics with the given amplitudes, of a constant or moving pitch in Hz."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, samples)) / rate
    highest = float(np.max(hertz))
    parts = [a * np.sin((k + 1) * phase) for k, a in enumerate(harmonics) if highest * (k + 1) < rate / 2]
    return np.sum(parts, axis=0) if parts else np.zeros(samples)


def decay(samples: int, rate: int, seconds: float) -> Sound:
    return np.exp(-np.arange(samples) / rate / seconds)


def faded(sound: Sound, rate: int, rise: float, fall: float) -> Sound:
    """Apply a ramp of `rise` seconds at the start and of `fall` seconds at the end."""
    ramp = np.minimum(np.arange(len(sound)) / (rise * rate + 1), np.arange(len(sound))[::-1] / (fall * rate + 1))
    return sound * np.minimum(ramp, 1.0)


def add(sound: Sound, event: Sound, second: float, rate: int) -> None:
    """Add an event at a time in seconds, in place. The part after the end of the sound is cut."""
    first = max(0, int(second * rate))
    last = min(len(sound), first + len(event))
    if first < last:
        sound[first:last] += event[: last - first]


def at_random(random: Random, seconds: float, rate: float) -> Sound:
    """Return times of events, `rate` per second on average, at least one."""
    return random.uniform(0, seconds, max(1, random.poisson(rate * seconds)))


def regular(random: Random, seconds: float, rate: float, jitter: float = 0.03) -> Sound:
    """Return nearly regular times of events, `rate` per second."""
    times = np.arange(random.uniform(0, 1 / rate), seconds, 1 / rate)
    return times + random.normal(0, jitter / rate, len(times))


def scattered(samples: int, rate: int, times: Sound, event: Callable[[], Sound]) -> Sound:
    """Return a sound with a new event at each of the times."""
    sound = np.zeros(samples)
    for second in times:
        add(sound, event(), second, rate)
    return sound


def burst(random: Random, rate: int, low: float, high: float, seconds: float) -> Sound:
    """Return a short noise that decays over `seconds`."""
    samples = int(rate * seconds * 6) + 8
    bent = 2 ** random.uniform(-0.3, 0.3)
    return (
        noise(random, samples, rate, low * bent, high * bent) * decay(samples, rate, seconds) * random.uniform(0.4, 1)
    )


def reverberant(random: Random, sound: Sound, rate: int) -> Sound:
    """Add the reverberation of a random room."""
    seconds, wet = random.uniform(0.1, 0.7), random.uniform(0.1, 0.7)
    samples = int(seconds * rate)
    answer = random.standard_normal(samples) * np.exp(-6.9 * np.arange(samples) / samples)
    answer /= np.sqrt(np.sum(answer**2))
    size = 1 << (len(sound) + samples - 1).bit_length()
    tail = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(answer, size), size)[: len(sound)]
    return sound + wet * tail


def channel(random: Random, sound: Sound, rate: int) -> Sound:
    """Apply a random microphone: a tilt, an uneven response, and sometimes a narrow band.

    It differs between clips of one speaker, instrument or place, so a mean spectrum identifies none of them.
    """
    tilt = random.uniform(-5, 5)  # dB per octave
    bumps = random.uniform(-7, 7, 12)
    low, high = random.uniform(20, 300), random.uniform(2800, 8000)
    narrow = random.random() < 0.35

    def gain(hertz: Sound) -> Sound:
        octaves = np.log2(hertz / 1000)
        decibels = tilt * np.clip(octaves, -3, 3) + np.interp(octaves, np.linspace(-5, 3.5, 12), bumps)
        band = np.sqrt((1 + (low / hertz) ** 6) * (1 + (hertz / high) ** 8)) if narrow else 1.0
        return 10 ** (decibels / 20) / band

    return shaped(sound, rate, gain)


def background(random: Random, samples: int, rate: int) -> Sound:
    """Return background sound: hiss, rumble, hum, wind, or many voices."""
    kind = random.integers(5)
    if kind == 0:
        return noise(random, samples, rate, 30, rate * 0.45, random.uniform(-1, 0))
    if kind == 1:
        return noise(random, samples, rate, 30, 2000, -2) * wander(random, samples, rate, 3, 0.4, 1)
    if kind == 2:
        hum = tone(random.choice([50.0, 60.0, 100.0, 120.0]), samples, rate, random.uniform(0.1, 1, 10))
        return unit(hum) + 0.4 * noise(random, samples, rate, 50, 6000, -1)
    if kind == 3:
        gusts = wander(random, samples, rate, 2, 0.2, 1)
        return noise(random, samples, rate, 60, 600, -1) * gusts + 0.3 * noise(random, samples, rate) * gusts**3
    voices = [
        noise(random, samples, rate, 150 * 2 ** random.uniform(0, 1), 3500, -1.2)
        * wander(random, samples, rate, random.uniform(3, 7), 0, 1) ** 2
        for _ in range(4)
    ]
    return np.sum(voices, axis=0)


def recorded(random: Random, sound: Sound, rate: int, quietest: float, loudest: float) -> NDArray[np.float32]:
    """Add a room, background sound between two signal-to-noise ratios in dB, a microphone and a random level."""
    if random.random() < 0.5:
        sound = reverberant(random, sound, rate)
    active = sound[np.abs(sound) > 0.1 * np.abs(sound).max()]
    level = np.sqrt(np.mean(active**2)) * 10 ** (-random.uniform(quietest, loudest) / 20)
    mixed = channel(random, sound + unit(background(random, len(sound), rate)) * level, rate)
    return (mixed / (np.abs(mixed).max() + 1e-9) * 10 ** (-random.uniform(1, 20) / 20)).astype(np.float32)
