"""Render environment sounds with numpy alone, under the names and numbers of ESC-50's classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.pocket.signals import (
    Random,
    Sound,
    add,
    at_random,
    burst,
    decay,
    faded,
    noise,
    regular,
    scattered,
    tone,
    wander,
)

Maker = Callable[[Random, int, int], Sound]  # random numbers, samples, sample rate


def rough(count: int, fall: float) -> Sound:
    """Return amplitudes of harmonics that fall with their number."""
    return 1 / np.arange(1, count + 1) ** fall


def calls(
    random: Random,
    samples: int,
    rate: int,
    length: tuple[float, float],
    gap: tuple[float, float],
    call: Callable[[int], Sound],
) -> Sound:
    """Return calls one after another, with random lengths and gaps in seconds."""
    sound, second = np.zeros(samples), random.uniform(0, min(0.3, samples / rate / 4))
    while second < samples / rate - 0.05:
        one = call(int(rate * random.uniform(*length)))
        add(sound, one * random.uniform(0.5, 1), second, rate)
        second += len(one) / rate + random.uniform(*gap)
    return sound


def glide(random: Random, samples: int, low: float, middle: float, high: float) -> Sound:
    """Return a line from one value through a second to a third."""
    return np.interp(np.linspace(0, 1, samples), [0, random.uniform(0.2, 0.6), 1], [low, middle, high])


def swing(hertz: float, samples: int, rate: int) -> Sound:
    return np.asarray(tone(hertz, samples, rate))


def dog(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(250, 700)

    def bark(m: int) -> Sound:
        return faded(
            tone(pitch * glide(r, m, 0.8, 1.3, 0.6), m, sr, rough(13, 0.6)) + 0.5 * noise(r, m, sr, 400, 3000),
            sr,
            0.01,
            0.08,
        )

    return calls(r, n, sr, (0.1, 0.22), (0.12, 0.6), bark)


def rooster(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(450, 800)

    def crow(m: int) -> Sound:
        return faded(tone(pitch * glide(r, m, 0.9, 1.6, 0.8), m, sr, (0.6, 1.0, 0.7, 0.4, 0.2)), sr, 0.03, 0.1)

    return calls(r, n, sr, (0.15, 0.7), (0.05, 0.25), crow)


def frog(r: Random, n: int, sr: int) -> Sound:
    pitch, pulses = r.uniform(300, 1200), r.uniform(25, 70)
    return calls(
        r,
        n,
        sr,
        (0.15, 0.5),
        (0.1, 0.5),
        lambda m: faded(tone(pitch, m, sr) * np.maximum(0, swing(pulses, m, sr)), sr, 0.03, 0.03),
    )


def cat(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(350, 700)

    def meow(m: int) -> Sound:
        return faded(
            tone(
                pitch * glide(r, m, 0.8, 1.3, 0.9) * (1 + 0.02 * swing(r.uniform(4, 8), m, sr)),
                m,
                sr,
                (0.5, 1, 0.8, 0.5, 0.3, 0.2),
            ),
            sr,
            0.08,
            0.15,
        )

    return calls(r, n, sr, (0.4, 0.8), (0.2, 1), meow)


def hen(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(500, 900)
    return calls(
        r,
        n,
        sr,
        (0.05, 0.15),
        (0.05, 0.3),
        lambda m: faded(tone(pitch * glide(r, m, 1.2, 0.9, 0.7), m, sr, rough(8, 1)), sr, 0.01, 0.04),
    )


def insects(r: Random, n: int, sr: int) -> Sound:
    return tone(r.uniform(160, 450) * wander(r, n, sr, 5, 0.85, 1.15), n, sr, r.uniform(0.3, 1, 14)) * wander(
        r, n, sr, 3, 0.2, 1
    )


def crow(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(350, 600)

    def caw(m: int) -> Sound:
        return faded(
            tone(pitch * glide(r, m, 0.9, 1.1, 0.9), m, sr, np.full(10, 0.4)) * (1 + 0.9 * noise(r, m, sr, 40, 200)),
            sr,
            0.03,
            0.05,
        )

    return calls(r, n, sr, (0.2, 0.45), (0.15, 0.6), caw)


def rain(r: Random, n: int, sr: int) -> Sound:
    drops = scattered(n, sr, at_random(r, n / sr, 40), lambda: burst(r, sr, 2000, 7000, 0.004))
    return noise(r, n, sr, 800, 9000, -0.3) + drops * r.uniform(0.5, 3)


def sea_waves(r: Random, n: int, sr: int) -> Sound:
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (r.uniform(0.12, 0.35) * np.arange(n) / sr + r.random()))
    return noise(r, n, sr, 150, 4000, -1) * (0.15 + swell**2 * wander(r, n, sr, 1, 0.6, 1))


def crackling_fire(r: Random, n: int, sr: int) -> Sound:
    cracks = scattered(n, sr, at_random(r, n / sr, r.uniform(8, 25)), lambda: burst(r, sr, 1200, 6000, 0.003))
    return cracks * 3 + 0.4 * noise(r, n, sr, 60, 500, -1) * wander(r, n, sr, 6, 0.3, 1)


def crickets(r: Random, n: int, sr: int) -> Sound:
    pulses = (swing(r.uniform(22, 45), n, sr) > 0) * (swing(r.uniform(1.5, 4), n, sr) > r.uniform(-0.6, 0.2))
    return tone(r.uniform(3000, 5200) * wander(r, n, sr, 4, 0.99, 1.01), n, sr) * np.convolve(
        pulses, np.ones(60) / 60, "same"
    )


def chirping_birds(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(2000, 4500)

    def chirp(m: int) -> Sound:
        trill = 1 + r.choice([0, 0.06]) * swing(r.uniform(20, 50), m, sr)
        return faded(tone(pitch * glide(r, m, *r.uniform(0.7, 1.4, 3)) * trill, m, sr), sr, 0.01, 0.03)

    return calls(r, n, sr, (0.06, 0.22), (0.03, 0.35), chirp)


def water_drops(r: Random, n: int, sr: int) -> Sound:
    def drop(m: int) -> Sound:
        rise = r.uniform(600, 1800) * np.exp(np.arange(m) / sr * r.uniform(3, 12))
        return tone(np.minimum(rise, 6000), m, sr) * decay(m, sr, r.uniform(0.012, 0.04))

    return calls(r, n, sr, (0.1, 0.2), (0.05, 0.5), drop)


def wind(r: Random, n: int, sr: int) -> Sound:
    gusts = wander(r, n, sr, 2, 0.2, 1)
    return noise(r, n, sr, 60, 500, -1) * gusts + 0.3 * noise(r, n, sr, 400, 1200) * gusts**3


def thunderstorm(r: Random, n: int, sr: int) -> Sound:
    def roll() -> Sound:
        m = int(sr * r.uniform(0.5, 2))
        return 3 * noise(r, m, sr, 25, 180, -1.5) * decay(m, sr, 0.5) * wander(r, m, sr, 12, 0.2, 1)

    return 0.2 * noise(r, n, sr, 600, 6000, -0.5) + scattered(n, sr, at_random(r, 0.7 * n / sr, 0.8), roll)


def clapping(r: Random, n: int, sr: int) -> Sound:
    return scattered(n, sr, at_random(r, n / sr, r.uniform(6, 20)), lambda: burst(r, sr, 700, 2800, 0.012))


def breathing(r: Random, n: int, sr: int) -> Sound:
    return noise(r, n, sr, 400, 3500, -0.5) * np.maximum(0, swing(r.uniform(0.5, 1.2), n, sr)) ** 1.5


def footsteps(r: Random, n: int, sr: int) -> Sound:
    times = regular(r, n / sr, r.uniform(1.4, 2.6), 0.05)
    heels = scattered(n, sr, times, lambda: burst(r, sr, 70, 400, 0.03))
    return heels + 0.5 * scattered(n, sr, times + 0.05, lambda: burst(r, sr, 1000, 4000, 0.015))


def laughing(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(150, 350)
    return calls(
        r,
        n,
        sr,
        (0.08, 0.14),
        (0.05, 0.12),
        lambda m: faded(
            tone(pitch * glide(r, m, 1.1, 1.0, 0.85), m, sr, rough(14, 0.5)) + 0.6 * noise(r, m, sr, 800, 4000),
            sr,
            0.03,
            0.04,
        ),
    )


def snoring(r: Random, n: int, sr: int) -> Sound:
    breath = np.maximum(0, swing(r.uniform(0.5, 0.9), n, sr))
    return noise(r, n, sr, 100, 900, -0.3) * breath * (0.3 + np.maximum(0, swing(r.uniform(22, 45), n, sr)))


def door_wood_knock(r: Random, n: int, sr: int) -> Sound:
    pitch, m = r.uniform(90, 280), int(0.15 * sr)

    def knock() -> Sound:
        body = tone(pitch, m, sr) + 0.5 * tone(2.3 * pitch, m, sr) + 0.3 * noise(r, m, sr, 200, 1500)
        return body * decay(m, sr, 0.025) * r.uniform(0.6, 1)

    times, second = [], r.uniform(0, 0.2)
    while second < n / sr:
        for _ in range(r.integers(2, 6)):
            times.append(second)
            second += r.uniform(0.12, 0.22)
        second += r.uniform(0.5, 1.5)
    return scattered(n, sr, np.array(times), knock)


def mouse_click(r: Random, n: int, sr: int) -> Sound:
    times = at_random(r, n / sr, 1.2)
    both = np.concatenate([times, times + r.uniform(0.06, 0.14)])
    return scattered(n, sr, both, lambda: burst(r, sr, 2500, 7000, 0.002))


def keyboard_typing(r: Random, n: int, sr: int) -> Sound:
    keys = scattered(n, sr, at_random(r, n / sr, r.uniform(6, 11)), lambda: burst(r, sr, 900, 5000, 0.006))
    return keys + 0.3 * scattered(n, sr, at_random(r, n / sr, 3), lambda: burst(r, sr, 150, 600, 0.02))


def washing_machine(r: Random, n: int, sr: int) -> Sound:
    turn = np.maximum(0, swing(r.uniform(0.6, 1.6), n, sr))
    return (
        tone(r.uniform(45, 110) * wander(r, n, sr, 1, 0.97, 1.03), n, sr, rough(12, 0.8))
        + noise(r, n, sr, 100, 2500, -0.8) * turn
    )


def vacuum_cleaner(r: Random, n: int, sr: int) -> Sound:
    motor = tone(r.uniform(250, 500) * wander(r, n, sr, 2, 0.98, 1.02), n, sr, (1, 0.5, 0.3, 0.2))
    return noise(r, n, sr, 300, 6000, -0.6) + r.uniform(0.3, 0.9) * motor


def clock_alarm(r: Random, n: int, sr: int) -> Sound:
    pitch, beeps = r.uniform(900, 2600), r.uniform(3, 9)
    return (
        tone(pitch, n, sr, (1, 0, 0.4, 0, 0.2)) * (swing(beeps, n, sr) > 0) * (swing(r.uniform(0.4, 1), n, sr) > -0.3)
    )


def clock_tick(r: Random, n: int, sr: int) -> Sound:
    times = regular(r, n / sr, r.choice([1.0, 2.0, 4.0]), 0.005)
    ticks = scattered(n, sr, times, lambda: burst(r, sr, 1500, 5000, 0.003))
    return ticks + 0.6 * scattered(n, sr, times + 0.12, lambda: burst(r, sr, 900, 2500, 0.004))


def glass_breaking(r: Random, n: int, sr: int) -> Sound:
    def shard() -> Sound:
        m = int(sr * 0.3)
        return tone(r.uniform(2000, 7000), m, sr) * decay(m, sr, r.uniform(0.02, 0.08))

    sound, begin = np.zeros(n), r.uniform(0, 0.3 * n / sr)
    add(sound, 4 * burst(r, sr, 800, 8000, 0.05), begin, sr)
    for _ in range(r.integers(12, 40)):
        add(sound, shard() * r.uniform(0.2, 1), begin + r.exponential(0.2), sr)
    return sound


def helicopter(r: Random, n: int, sr: int) -> Sound:
    blades = np.maximum(0, tone(r.uniform(9, 22) * wander(r, n, sr, 1, 0.98, 1.02), n, sr))
    return noise(r, n, sr, 50, 900, -1) * (0.1 + blades) ** 2 + 0.3 * noise(r, n, sr, 500, 3000)


def chainsaw(r: Random, n: int, sr: int) -> Sound:
    motor = tone(r.uniform(70, 130) * wander(r, n, sr, 2, 0.7, 1.4), n, sr, r.uniform(0.2, 1, 24))
    return motor * (1 + 0.4 * noise(r, n, sr, 5, 80)) + 0.6 * noise(r, n, sr, 800, 6000)


def siren(r: Random, n: int, sr: int) -> Sound:
    low, high, wave = r.uniform(400, 700), r.uniform(1000, 1600), swing(r.uniform(0.3, 3), n, sr)
    if r.random() < 0.3:
        wave = np.sign(wave)
    return tone(low + (high - low) * (0.5 + 0.5 * wave), n, sr, (1, 0.5, 0.3, 0.1))


def car_horn(r: Random, n: int, sr: int) -> Sound:
    pitch = r.uniform(300, 460)

    def honk(m: int) -> Sound:
        return faded(tone(pitch, m, sr, rough(11, 0.7)) + tone(1.26 * pitch, m, sr, rough(11, 0.7)), sr, 0.02, 0.04)

    return calls(r, n, sr, (0.25, 1.0), (0.1, 0.8), honk)


def engine(r: Random, n: int, sr: int) -> Sound:
    motor = tone(r.uniform(22, 60) * wander(r, n, sr, 1.5, 0.8, 1.3), n, sr, r.uniform(0.2, 1, 20) * rough(20, 0.5))
    return motor * (1 + 0.3 * noise(r, n, sr, 3, 30)) + 0.3 * noise(r, n, sr, 100, 2000, -1)


def train(r: Random, n: int, sr: int) -> Sound:
    times = regular(r, n / sr, r.uniform(1.2, 2.2), 0.02)
    joints = scattered(n, sr, np.concatenate([times, times + 0.13]), lambda: burst(r, sr, 150, 900, 0.03))
    return 0.5 * noise(r, n, sr, 80, 1200, -1) + 2 * joints


def church_bells(r: Random, n: int, sr: int) -> Sound:
    pitch, m = r.uniform(220, 600), 2 * sr
    partials = (0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.1)

    def bell() -> Sound:
        return np.sum(
            [r.uniform(0.3, 1) * tone(pitch * p, m, sr) * decay(m, sr, 1.2 / (1 + 0.6 * p)) for p in partials], axis=0
        )

    return scattered(n, sr, regular(r, n / sr, r.uniform(0.7, 1.6), 0.1), bell)


def airplane(r: Random, n: int, sr: int) -> Sound:
    whine = 0.25 * tone(r.uniform(1500, 3200) * np.linspace(1.05, 0.92, n), n, sr)
    return noise(r, n, sr, 40, r.uniform(500, 1500), -0.8) * wander(r, n, sr, 0.7, 0.5, 1) + whine


def fireworks(r: Random, n: int, sr: int) -> Sound:
    whistles = calls(
        r,
        n,
        sr,
        (0.2, 0.5),
        (0.3, 1),
        lambda m: 0.3 * tone(np.linspace(r.uniform(1500, 2500), r.uniform(2500, 4000), m), m, sr),
    )
    return 3 * scattered(n, sr, at_random(r, n / sr, 1.5), lambda: burst(r, sr, 40, 900, 0.08)) + whistles


def hand_saw(r: Random, n: int, sr: int) -> Sound:
    stroke = np.abs(swing(r.uniform(1.5, 4), n, sr)) ** 0.7
    return noise(r, n, sr, 1200, 6500) * stroke * (1 + 0.6 * tone(r.uniform(60, 160) * (0.3 + stroke), n, sr))


NUMBERS = {
    "dog": 0, "rooster": 1, "frog": 4, "cat": 5, "hen": 6, "insects": 7, "crow": 9, "rain": 10, "sea_waves": 11,
    "crackling_fire": 12, "crickets": 13, "chirping_birds": 14, "water_drops": 15, "wind": 16, "thunderstorm": 19,
    "clapping": 22, "breathing": 23, "footsteps": 25, "laughing": 26, "snoring": 28, "door_wood_knock": 30,
    "mouse_click": 31, "keyboard_typing": 32, "washing_machine": 35, "vacuum_cleaner": 36, "clock_alarm": 37,
    "clock_tick": 38, "glass_breaking": 39, "helicopter": 40, "chainsaw": 41, "siren": 42, "car_horn": 43, "engine": 44,
    "train": 45, "church_bells": 46, "airplane": 47, "fireworks": 48, "hand_saw": 49,
}  # fmt: skip
MAKERS: dict[str, Maker] = {name: globals()[name] for name in NUMBERS}


def make(name: str, random: Random, samples: int, rate: int) -> Sound:
    """Return a sound of a class. A sparse class may draw silence; it is then drawn again."""
    while True:
        sound = MAKERS[name](random, samples, rate)
        if np.sqrt(np.mean(sound**2)) > 1e-5:
            return sound
