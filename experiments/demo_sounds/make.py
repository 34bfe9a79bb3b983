"""Cut the sounds of the demo out of two packages of Debian: notes, drums, loops and effects at 16 kHz.

    apt-get download fluid-soundfont-gm sonic-pi-samples
    .venv/bin/python experiments/demo_sounds/make.py fluid-soundfont-gm_*.deb sonic-pi-samples_*.deb OUT

dpkg-deb unpacks them. One Ogg file holds the sounds of one group, because a file of its own for each sound would double
the size. The tables name the start and the end of each sound.
"""

from __future__ import annotations

import csv
import hashlib
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from distill.data.audio.resample import resample

SAMPLE_RATE = 16_000
SECONDS, SHORTEST, GAP = 2.0, 0.1, 0.15
WINDOWS = 3  # of a long sound without a label
QUALITY = 0.75  # soundfile's compression level; 0 is the best, 1 the smallest
Samples = NDArray[np.float32]

# Instruments by family of General MIDI, and the beginning of their samples' names.
FAMILIES = {
    "bass": {
        "acoustic_bass": "Acoustic_Bass",
        "bass": "Bass_",
        "finger_bass": "Finger_Bass",
        "fretless_bass": "Fretless",
        "picked_bass": "Picked_Bass",
        "pop_bass": "Pop_",
        "slap_bass": "Slap_Bass",
    },
    "bowed": {
        "cello": "Cello",
        "strings": "Strings_",
        "viola": "Viola",
        "violin": "Violin",
    },
    "brass": {
        "brass_section": "Brass_Section",
        "french_horns": "French_Horns",
        "trombone": "trombone",
        "trumpet": "tp_",
        "tuba": "Tuba",
    },
    "guitar": {
        "clean": "Clean_",
        "distortion": "Distortion",
        "jazz_guitar": "Jazz_Guitar",
        "muted": "Muted",
        "nylon": "Nylon",
        "palm_muted": "PalmMuted",
        "steel_guitar": r"Steel_[A-G]s?\d",
    },
    "mallet": {
        "celesta": "Celesta",
        "glockenspiel": "Glocken",
        "kalimba": "Kalimba",
        "marimba": "Marimba",
        "music_box": "Music_Box",
        "steel_drum": "Steel_Drum",
        "tubular_bells": "Tubular",
        "vibraphone": "Vibraphone",
        "xylophone": "Xylophone",
    },
    "organ": {
        "accordion": "Accordian",
        "b3": "B3_",
        "church_organ": "Church",
        "drawbar_organ": "Drawbar|reed_organ",
        "harmonica": "harmon_|harmnc",
        "rock_organ": "Rock_Organ",
    },
    "piano": {
        "electric_piano": "Electric_Piano",
        "electric_piano_2": "EP_2",
        "grand_piano": "P200",
        "rhodes": "Rhodes",
    },
    "pipe": {
        "flute": "Flute",
        "ocarina": "Ocar",
        "pan_flute": "pan_flute",
        "piccolo": "Piccolo",
        "recorder": "Recorder",
        "whistle": "whistle$|Long_Whistle|shakhchi",
    },
    "plucked": {
        "banjo": "Banjo",
        "clavinet": "Clavinet",
        "dulcimer": "dulci",
        "harp": "Harp_",
        "harpsichord": "Harpsichord",
        "shamisen": "Shamisen",
        "sitar": "sitar",
    },
    "reed": {
        "alto_sax": "Alto_",
        "baritone_sax": "Baritone",
        "bassoon": "E_s_Bassoon",
        "clarinet": "Clarinet",
        "english_horn": "English_Horn",
        "oboe": "Oboe",
        "soprano_sax": "Soprano",
        "tenor_sax": "Tenor_",
    },
    "voice": {
        "choir_aahs": "Ahh_Choir",
        "choir_oohs": "Ohh_Voices",
        "solo_voice": "solo_vox",
    },
}


class Sound(NamedTuple):
    """A sound of a package, before it is cut.

    Args:
        group: Instrument, or kind of sounds: the name of its Ogg file.
        label: Family of the instrument; "" for other sounds.
        name: Name within the package.
        samples: Mono, from -1 to 1.
        rate: In Hz.
        author: Author, as the package states.
        source: Package or address.
        licence: Name of the licence.
    """

    group: str
    label: str
    name: str
    samples: Samples
    rate: int
    author: str
    source: str
    licence: str


def main() -> None:
    fluid, sonic, out = (Path(word) for word in sys.argv[1:4])
    with tempfile.TemporaryDirectory() as place:
        for package in (fluid, sonic):
            subprocess.run(["dpkg-deb", "-x", package, place], check=True)
        share = Path(place) / "usr" / "share"
        sounds = [*fluid_sounds(share / "sounds" / "sf2" / "FluidR3_GM.sf2"), *sonic_sounds(share)]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    notes, pool, origins = [], [], []
    for group in sorted({sound.group for sound in sounds}):
        members = [sound for sound in sounds if sound.group == group]
        split = "test" if group in held_out_instruments() else "train"
        pieces, at, path = [], 0.0, f"audio/{group}.ogg"
        for sound in members:
            for window in cut(sound):
                end = at + len(window) / SAMPLE_RATE
                row = (path, f"{at:.3f}", f"{end:.3f}")
                if sound.label:
                    notes.append((*row, sound.label, split))
                if split == "train":
                    pool.append(row)
                origins.append((*row, sound.name, sound.author, sound.source, sound.licence))
                # Silence, so that the codec does not mix the end of a sound with the start of the next.
                pieces += [window, np.zeros(round(GAP * SAMPLE_RATE), np.float32)]
                at += sum(len(piece) for piece in pieces[-2:]) / SAMPLE_RATE
        write_ogg(out / path, np.concatenate(pieces))
    table(out / "notes.csv", ("path", "start", "end", "label", "split"), notes)
    table(out / "pool.csv", ("path", "start", "end"), pool)
    table(out / "origins.csv", ("path", "start", "end", "name", "author", "source", "licence"), origins)
    size = sum(path.stat().st_size for path in (out / "audio").iterdir())
    print(f"{len(notes)} notes, {len(pool)} sounds for distillation, {size / 1e6:.2f} MB")


def write_ogg(path: Path, samples: Samples) -> None:
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS", compression_level=QUALITY
    ) as file:
        for start in range(0, len(samples), SAMPLE_RATE):  # libsndfile crashes on a minute of Vorbis in one call
            file.write(samples[start : start + SAMPLE_RATE])


def held_out_instruments() -> set[str]:
    """Return a third of the instruments of each family, chosen by the digests of their names."""
    chosen = set()
    for instruments in FAMILIES.values():
        ranked = sorted(instruments, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        chosen |= set(ranked[: round(len(ranked) / 3)])
    return chosen


def fluid_sounds(path: Path) -> Iterator[Sound]:
    """Yield the mono and left samples of FluidR3, a SoundFont 2."""
    data = path.read_bytes()
    chunks = dict(riff_chunks(data, 0, len(data)))
    begin, size = chunks[b"shdr"]
    samples = np.frombuffer(data, "<i2", count=chunks[b"smpl"][1] // 2, offset=chunks[b"smpl"][0])
    seen = set()
    for record in range(size // 46 - 1):
        fields = struct.unpack_from("<20sIIIII", data, begin + 46 * record)
        name, start, end, rate = fields[0].split(b"\0")[0].decode("latin-1").strip(), fields[1], fields[2], fields[5]
        plain = re.sub(r"[^A-Za-z0-9#]+", "_", re.sub(r"\((L|R)\)$", "", name)).replace("#", "s")
        if name.endswith("(R)") or re.search(r"Strings.*R$", plain) or plain in seen or end - start < SHORTEST * rate:
            continue
        seen.add(plain)
        group, label = instrument(plain)
        values = samples[start:end].astype(np.float32) / 32768
        yield Sound(group, label, plain, values, rate, "Frank Wen and contributors", "FluidR3 GM 3.1", "MIT")


def riff_chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the name, the place and the size of each chunk, those within lists too."""
    while start + 8 <= end:
        name, (size,) = data[start : start + 4], struct.unpack_from("<I", data, start + 4)
        if name in (b"RIFF", b"LIST"):
            yield from riff_chunks(data, start + 12, start + 8 + size)
        else:
            yield name, (start + 8, size)
        start += 8 + size + size % 2


def instrument(name: str) -> tuple[str, str]:
    """Return the instrument and the family of a sample; other samples belong to "fluid_other" and no family."""
    hits = [
        (group, family)
        for family, instruments in FAMILIES.items()
        for group, pattern in instruments.items()
        if re.match(pattern, name)
    ]
    return hits[0] if len(hits) == 1 else ("fluid_other", "")


def sonic_sounds(share: Path) -> Iterator[Sound]:
    """Yield the samples of Sonic Pi that the package states to be CC0."""
    text = (share / "doc" / "sonic-pi-samples" / "copyright").read_text()
    entry = r"Files: etc/samples/(\S+)\.flac\nCopyright: (.+)\n(?:Source:)?\s*(http\S+)\nLicense: CC0\n"
    for name, author, source in re.findall(entry, text):
        samples, rate = soundfile.read(share / "sonic-pi" / "samples" / f"{name}.flac", dtype="float32", always_2d=True)
        author = re.sub(r" *<.*>", "", author)
        yield Sound(f"sonic_{name.split('_')[0]}", "", name, samples.mean(1), rate, author, source, "CC0-1.0")


def cut(sound: Sound) -> Iterator[Samples]:
    """Yield the first 2 s of a note, and up to three windows of 2 s of another sound, at 16 kHz."""
    samples = torch.from_numpy(np.ascontiguousarray(sound.samples)).unsqueeze(0)
    resampled = resample(samples, sound.rate, SAMPLE_RATE)[0].clamp(-1, 1).numpy()
    size = round(SECONDS * SAMPLE_RATE)
    for number in range(1 if sound.label else WINDOWS):
        window = resampled[number * size : (number + 1) * size]
        if len(window) >= SHORTEST * SAMPLE_RATE and (number == 0 or np.abs(window).max() > 0.01):
            yield window


def table(path: Path, names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([names, *rows])


if __name__ == "__main__":
    main()
