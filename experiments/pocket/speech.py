"""Render words and sentences with espeak-ng, in voices that differ in accent, pitch, pace and vocal tract."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import numpy as np

from experiments.pocket.signals import Random, Sound, generator

RATE = 16_000
_ESPEAK_RATE = 22_050
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-gb-x-gbclan")
VARIANTS = [
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alex", "Andy", "Annie", "Gene",
    "Jacky", "Lee", "Mario", "Michael", "adam", "alicia", "andrea", "antonio", "belinda", "benjamin", "boris",
    "caleb", "david", "ed", "edward", "linda", "marcelo", "max", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "steph", "travis", "victor", "klatt", "klatt2", "klatt3", "klatt4", "grandma", "grandpa",
]  # fmt: skip
KEYWORDS = [
    "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "zero", "one", "two", "three", "four",
    "five", "six", "seven", "eight", "nine",
]  # fmt: skip
HELD_OUT_KEYWORDS = [
    "bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow", "backward", "forward",
    "follow", "learn", "visual",
]  # fmt: skip
POOL_WORDS = [
    "water", "music", "paper", "table", "window", "garden", "silver", "market", "doctor", "river", "winter",
    "butter", "morning", "picture", "summer", "copper", "kitchen", "lemon", "pocket", "rabbit", "school", "green",
    "black", "white", "stone", "light", "train", "plane", "north", "south",
]  # fmt: skip
HELD_OUT_POOL_WORDS = [
    "monday", "purple", "simple", "double", "middle", "under", "over", "before", "after", "friend", "apple",
    "castle", "finger", "hammer", "island", "jacket", "ladder", "mirror", "number", "orange", "pencil", "ribbon",
    "sugar", "tiger", "valley", "wagon", "yellow", "zebra", "anchor", "bottle",
]  # fmt: skip
SENTENCES = (
    "the {} is near the {}", "please bring me the {} and the {}", "we saw a {} by the {} today",
    "there was no {} in the {}", "my {} fell into the old {}", "put the {} on top of the {}",
    "she sold her {} for a {}", "every {} needs a good {}",
)  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """A voice.

    Args:
        accent: Accent of espeak-ng.
        variant: Timbre of espeak-ng.
        pitch: Pitch, from 0 to 99.
        pace: Words per minute.
        tract: Relative length of the vocal tract; a longer one lowers formants and pitch.
    """

    accent: str
    variant: str
    pitch: int
    pace: int
    tract: float


def speaker(seed: int, part: str, number: int, held_out: bool) -> Speaker:
    """Return the voice of a number in a part. Held-out voices have other timbres and, mostly, other accents."""
    random = generator(seed, "speaker", part, number)
    accents, variants = (ACCENTS[4:], VARIANTS[1::2]) if held_out else (ACCENTS[:4], VARIANTS[::2])
    return Speaker(
        str(random.choice(accents)), str(random.choice(variants)), int(random.integers(15, 86)),
        int(random.integers(120, 215)), float(random.uniform(0.88, 1.14)),
    )  # fmt: skip


def say(text: str, voice: Speaker, random: Random) -> Sound:
    """Speak a text with small random changes of pace and pitch. The silence around it is cut."""
    pace, pitch = int(voice.pace * random.uniform(0.9, 1.1)), int(np.clip(voice.pitch + random.integers(-8, 9), 0, 99))
    command = [
        "espeak-ng",
        "-v",
        f"{voice.accent}+{voice.variant}",
        "-s",
        str(pace),
        "-p",
        str(pitch),
        "--stdout",
        text,
    ]
    wave = subprocess.run(command, check=True, capture_output=True).stdout[44:]
    sound = np.frombuffer(wave[: len(wave) // 2 * 2], "<i2") / 32768.0
    sound = resampled(sound, RATE / _ESPEAK_RATE * voice.tract)
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    return sound[max(0, loud[0] - 200) : loud[-1] + 400]


def resampled(sound: Sound, ratio: float) -> Sound:
    """Resample a sound to its length times `ratio`, by the Fourier transform."""
    samples = max(16, round(len(sound) * ratio))
    spectrum = np.fft.rfft(sound)
    kept = min(len(spectrum), samples // 2 + 1)
    padded = np.zeros(samples // 2 + 1, dtype=complex)
    padded[:kept] = spectrum[:kept]
    return np.fft.irfft(padded, samples) * (samples / len(sound))


def placed(sound: Sound, samples: int, random: Random) -> Sound:
    """Place a sound at random in a clip of `samples` samples. A longer sound is cut to its middle."""
    if len(sound) >= samples:
        first = (len(sound) - samples) // 2
        return sound[first : first + samples]
    before = int(random.integers(0, samples - len(sound) + 1))
    return np.pad(sound, (before, samples - len(sound) - before))
