"""Render labelled sound in the layouts of Speech Commands v2, VoxCeleb1, NSynth, ESC-50 and AudioSet.

    python -m experiments.pocket.render OUT [--size tiny|small] [--seed 0] [--jobs 2] [--held_out]

All sound is synthetic. It has the layouts of those sets; scores on it are not comparable with scores on them. The same
seed gives the same bytes on the same machine. Required: espeak-ng and fluidsynth with the sound fonts FluidR3 and
TimGM6mb (Debian: espeak-ng fluidsynth fluid-soundfont-gm timgm6mb-soundfont). `--held_out` renders other words, voices,
sound fonts and classes (five of its 16 task classes are in the pool of the first set), not used during development.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from experiments.pocket import environment, music, speech
from experiments.pocket.signals import Random, Sound, background, generator, recorded, unit

RATE = 16_000
# Classes of ESC-50. The pool shares the first eight of the task (held out: six).
TASK = [
    "dog", "rain", "crackling_fire", "chirping_birds", "clapping", "vacuum_cleaner", "siren", "engine", "crow",
    "sea_waves", "crickets", "water_drops", "wind", "footsteps", "door_wood_knock", "keyboard_typing",
    "clock_alarm", "glass_breaking", "helicopter", "church_bells",
]  # fmt: skip
POOL = [*TASK[:8], *["frog", "cat", "thunderstorm", "clock_tick", "chainsaw", "car_horn", "train"]]
HELD_OUT_TASK = [
    "rooster", "hen", "insects", "breathing", "laughing", "snoring", "mouse_click", "washing_machine", "airplane",
    "fireworks", "hand_saw", "frog", "cat", "thunderstorm", "clock_tick", "chainsaw",
]  # fmt: skip
HELD_OUT_POOL = [
    *HELD_OUT_TASK[:6],
    *["crow", "crickets", "water_drops", "wind", "footsteps", "helicopter", "car_horn", "train", "siren"],
]


@dataclass(frozen=True)
class Size:
    """Numbers of words, speakers, notes and takes of each part."""

    words: int
    speakers: int
    voices: int  # speakers of VoxCeleb's layout, each with `videos` videos of four sentences
    videos: int
    programs: int  # for each family of instruments
    pitches: int
    classes: int
    takes: int
    pool_words: int
    pool_speakers: int
    pool_programs: int
    pool_notes: int
    pool_takes: int
    elsewhere: int  # factor: speakers, notes and takes for the teacher alone, relative to the pool


SIZES = {
    "tiny": Size(5, 10, 5, 3, 2, 6, 5, 10, 6, 6, 8, 4, 6, 1),
    "small": Size(20, 40, 16, 4, 6, 12, 20, 20, 30, 60, 96, 12, 60, 2),
}


def write(path: Path, sound: Sound | np.ndarray[Any, Any], rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="PCM_16")


Task = tuple[Callable[..., Any], tuple[Any, ...]]


def _do(task: Task) -> Any:
    return task[0](*task[1])


def run(tasks: Sequence[Task], jobs: int) -> list[Any]:
    if jobs == 1:
        return [_do(task) for task in tasks]
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(_do, tasks, chunksize=max(1, len(tasks) // (jobs * 16))))


def spoken(
    path: Path, name: str, text: str, voice: speech.Speaker, seed: int, noise: tuple[float, float], seconds: float
) -> None:
    random = generator(seed, name)
    samples = int(seconds * RATE)
    write(path, recorded(random, speech.placed(speech.say(text, voice, random), samples, random), RATE, *noise))


def around(path: Path, name: str, kind: str, seed: int, noise: tuple[float, float], seconds: float, rate: int) -> None:
    random = generator(seed, name)
    write(path, recorded(random, environment.make(kind, random, int(seconds * rate), rate), rate, *noise), rate)


class Renderer:
    """Renders one data set after another below a folder."""

    def __init__(self, out: Path, size: Size, seed: int, held_out: bool) -> None:
        self.out, self.size, self.seed, self.held_out = out, size, seed, held_out
        self.part = "held out " if held_out else ""
        self.listed: dict[str, list[str]] = {}  # labels of each clip of the teacher; the label of the pool is the first
        self.fonts = music.FONTS[::-1] if held_out else music.FONTS

    @property
    def pool_words(self) -> list[str]:
        return (speech.HELD_OUT_POOL_WORDS if self.held_out else speech.POOL_WORDS)[: self.size.pool_words]

    def speaker(self, part: str, number: int) -> speech.Speaker:
        return speech.speaker(self.seed, self.part + part, number, self.held_out)

    def random(self, *key: object) -> Random:
        return generator(self.seed, self.part, *key)

    def keywords(self) -> list[Task]:
        """Lay out Speech Commands v2: a fifth of the speakers is the test part, a tenth the validation part."""
        root, tasks = self.out / "speech_commands_v0.02", []
        lists: dict[str, list[str]] = {"validation": [], "testing": []}
        words = speech.HELD_OUT_KEYWORDS if self.held_out else speech.KEYWORDS
        for number in range(self.size.speakers):
            voice = self.speaker("keywords", number)
            name = hashlib.sha1(f"{self.seed} {self.part} {number}".encode()).hexdigest()[:8]
            for word in words[: self.size.words]:
                path = f"{word}/{name}_nohash_0.wav"
                tasks.append(
                    (spoken, (root / path, f"{self.part}keywords {path}", word, voice, self.seed, (0.0, 18.0), 1.0))
                )
                if number % 5 == 4:
                    lists["testing"].append(path)
                elif number % 10 == 3:
                    lists["validation"].append(path)
        root.mkdir(parents=True, exist_ok=True)
        for name, paths in lists.items():
            (root / f"{name}_list.txt").write_text("\n".join(sorted(paths)) + "\n")
        for number in range(2):
            random = self.random("background", number)
            write(root / "_background_noise_" / f"{number}.wav", 0.1 * unit(background(random, 20 * RATE, RATE)))
        return tasks

    def voices(self) -> list[Task]:
        """Lay out VoxCeleb1: the last video of a speaker is the test part, the one before the validation part."""
        root, tasks, lines = self.out / "voxceleb1", [], []
        words = speech.HELD_OUT_POOL_WORDS if self.held_out else speech.POOL_WORDS
        for number in range(self.size.voices):
            voice = self.speaker("voices", number)
            for video in range(self.size.videos):
                for sentence in range(4):
                    random = self.random("sentence", number, video, sentence)
                    text = str(random.choice(speech.SENTENCES)).format(*random.choice(words, 2, replace=False))
                    path = f"id{10001 + number}/video{video:03d}/{sentence + 1:05d}.wav"
                    name = f"{self.part}voices {path}"
                    tasks.append((spoken, (root / "wav" / path, name, text, voice, self.seed, (3.0, 20.0), 2.0)))
                    split = 3 if video == self.size.videos - 1 else 2 if video == self.size.videos - 2 else 1
                    lines.append(f"{split} {path}")
        root.mkdir(parents=True, exist_ok=True)
        (root / "iden_split.txt").write_text("\n".join(lines) + "\n")
        return tasks

    def notes(self) -> list[Task]:
        """Lay out NSynth: test instruments are in no other part. `write_notes` writes the lists afterwards."""
        tasks, instrument = [], 0
        for family, programs in music.FAMILIES.items():
            order = self.random("programs", family).permutation(list(programs))[: self.size.programs]
            for place, program in enumerate(order.tolist()):
                split = "test" if place % 3 == 1 else "valid" if place % 6 == 5 else "train"
                tasks.append((self.instrument, (split, family, program, instrument)))
                instrument += 1
        return tasks

    def instrument(self, split: str, family: str, program: int, number: int) -> tuple[str, dict[str, Any]]:
        random = self.random("notes", program)
        pitches = sorted(random.permutation(np.arange(36, 84))[: self.size.pitches].tolist())
        score = [((pitch,), int(random.choice([50, 75, 100, 127]))) for pitch in pitches]
        described = {}
        for ((pitch,), velocity), sound in zip(score, music.play(program, score, self.fonts[0], 4.0, 3.0), strict=True):
            if np.abs(sound).max() < 1e-4:  # silent: the pitch is outside the range of the instrument
                continue
            name = f"{family}_synthetic_{number:03d}-{pitch:03d}-{velocity:03d}"
            path = self.out / f"nsynth-{split}" / "audio" / f"{name}.wav"
            write(path, recorded(self.random(name), sound, RATE, 5.0, 30.0))
            described[name] = {
                "note": zlib.crc32(name.encode()), "note_str": name, "instrument": number, "pitch": pitch,
                "instrument_str": name[:-8], "velocity": velocity, "sample_rate": RATE,
                "instrument_family_str": family, "instrument_source_str": "synthetic",
            }  # fmt: skip
        return split, described

    def write_notes(self, described: Iterable[tuple[str, dict[str, Any]]]) -> None:
        parts: dict[str, dict[str, Any]] = {"train": {}, "valid": {}, "test": {}}
        for split, notes in described:
            parts[split] |= notes
        for split, notes in parts.items():
            folder = self.out / f"nsynth-{split}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "examples.json").write_text(json.dumps(notes, indent=1, sort_keys=True))

    def surroundings(self) -> list[Task]:
        """Lay out ESC-50 in five folds."""
        root, tasks, rows = self.out / "ESC-50", [], []
        classes = (HELD_OUT_TASK if self.held_out else TASK)[: self.size.classes]
        for kind in classes:
            for take in range(self.size.takes):
                fold, target = take % 5 + 1, environment.NUMBERS[kind]
                source = 100_000 + zlib.crc32(f"{self.seed}{self.part}{kind}{take}".encode()) % 90_000
                file = f"{fold}-{source}-A-{target}.wav"
                name = f"{self.part}surroundings {kind} {take}"
                tasks.append((around, (root / "audio" / file, name, kind, self.seed, (-3.0, 15.0), 5.0, 44_100)))
                rows.append((file, fold, target, kind, False, source, "A"))
        (root / "meta").mkdir(parents=True, exist_ok=True)
        with open(root / "meta" / "esc50.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
            writer.writerows(rows)
        return tasks

    def pool(self) -> list[Task]:
        """Lay out AudioSet: speech, music and surroundings of one second, for students (the pool) and for the teacher.

        Each list is a file `NAME_segments.csv`:

        - `balanced_train` has the whole pool, with one fine label for each clip.
        - `unbalanced_train` has a part of the pool that is 88 % speech.
        - `long_tailed_train` has the whole pool and repeats two of its words until they are 88 % of the list, like
          uploads with many copies.
        - `described_train` has the pool with all kinds of labels: also speakers and notes.
        - `teacher_train` has the same, and clips of other speakers, notes and takes.
        - `eval` has the words of the pool by one more speaker.
        """
        size, factor = self.size, 1 + self.size.elsewhere
        tasks: list[Task] = []
        for number in range(size.pool_speakers * factor):
            part = "pool" if number < size.pool_speakers else "elsewhere"
            voice = self.speaker(part, number)
            for word in self.pool_words:
                name = self._listed(f"speech_{number:03d}_{word}", part, [f"word:{word}", f"speaker:{number:03d}"])
                task = (self._audio(name), f"{self.part}{part} {number} {word}", word, voice)
                tasks.append((spoken, (*task, self.seed, (0.0, 20.0), 1.0)))
        for word in self.pool_words:
            name = self._listed(f"speech_{word}", "evaluation", [f"word:{word}"])
            task = (self._audio(name), f"{self.part}evaluation {word}", word, self.speaker("evaluation", 0))
            tasks.append((spoken, (*task, self.seed, (0.0, 20.0), 1.0)))
        for program in self.random("pool programs").permutation(120)[: size.pool_programs].tolist():
            for part, first in (("pool", 0), *(("elsewhere", size.pool_notes * more) for more in range(1, factor))):
                score = self.score(program, part, first)
                for number, (pitches, _) in enumerate(score, first):
                    labels = [f"program:{program}", *(f"pitch:{pitch}" for pitch in pitches)]
                    self._listed(f"music_{program:03d}_{number:02d}", part, labels)
                tasks.append((self.pool_music, (program, part, first)))
        for kind in HELD_OUT_POOL if self.held_out else POOL:
            for take in range(size.pool_takes * factor):
                part = "pool" if take < size.pool_takes else "elsewhere"
                name = self._listed(f"around_{kind}_{take:03d}", part, [f"around:{kind}"])
                task = (self._audio(name), f"{self.part}{name}", kind, self.seed, (0.0, 20.0), 1.0, RATE)
                tasks.append((around, task))
        return tasks

    def _listed(self, name: str, part: str, labels: list[str]) -> str:
        """Record the labels of a clip. Return its name, which begins with its part unless it is in the pool."""
        name = name if part == "pool" else f"{part}_{name}"
        self.listed[name] = labels
        return name

    def _audio(self, name: str) -> Path:
        return self.out / "audioset" / "audio" / f"{name}.wav"

    def score(self, program: int, part: str, first: int) -> list[tuple[tuple[int, ...], int]]:
        """Draw notes of a program, some of them two at once, with velocities."""
        key = ("pool notes", program) if part == "pool" else (part, program, first)
        random, score = self.random(*key), []
        for _ in range(self.size.pool_notes):
            pitch, second = int(random.integers(36, 84)), int(random.choice([0, 0, 0, 4, 7, 12]))
            score.append(((pitch, pitch + second) if second else (pitch,), int(random.integers(45, 127))))
        return score

    def pool_music(self, program: int, part: str, first: int) -> list[str]:
        """Render notes of a program. Return the names of silent ones, which are outside its range."""
        silent = []
        sounds = music.play(program, self.score(program, part, first), self.fonts[1], 1.4, 1.0)
        for number, sound in enumerate(sounds, first):
            name = f"music_{program:03d}_{number:02d}" if part == "pool" else f"{part}_music_{program:03d}_{number:02d}"
            random = self.random(name)
            begin = int(random.integers(0, int(0.3 * RATE)))
            cut = sound[begin : begin + RATE]
            if np.abs(cut).max() < 1e-4:
                silent.append(name)
                continue
            write(self._audio(name), recorded(random, cut, RATE, 3.0, 25.0))
        return silent

    def write_pool(self, silent: set[str]) -> None:
        root = self.out / "audioset"
        rendered = {clip: labels for clip, labels in self.listed.items() if clip not in silent}
        evaluation = [clip for clip in rendered if clip.startswith("evaluation")]
        taught = {clip: labels for clip, labels in rendered.items() if clip not in evaluation}
        clips = {clip: labels[:1] for clip, labels in taught.items() if not clip.startswith("elsewhere")}
        root.mkdir(parents=True, exist_ok=True)
        broad = {"word": "Speech", "program": "Music", "around": "Surroundings"}
        names = [*broad.values(), *sorted({label for labels in taught.values() for label in labels})]
        mids = {name: f"/m/p{number:05d}" for number, name in enumerate(names)}
        with open(root / "class_labels_indices.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("index", "mid", "display_name"))
            writer.writerows((number, mids[name], name) for number, name in enumerate(names))
        random = self.random("lists")
        chance = dict(zip(clips, random.random(len(clips)).tolist(), strict=True))
        share = {"speech": 0.7, "music": 0.10, "around": 0.06}  # 88 % speech
        unbalanced = [clip for clip in clips if chance[clip] < share[clip.partition("_")[0]]]
        repeated = {f"word:{word}" for word in self.pool_words[:2]}
        head = [clip for clip in clips if clips[clip][0] in repeated]
        again = round((0.88 * len(clips) - len(head)) / (0.12 * len(head)))
        long_tailed = [*clips, *head * again]
        for list_name, listed, labels in (
            ("balanced_train", list(clips), clips),
            ("unbalanced_train", unbalanced, clips),
            ("long_tailed_train", long_tailed, clips),
            ("described_train", list(clips), taught),
            ("teacher_train", list(taught), taught),
            ("eval", evaluation, rendered),
        ):
            lines = ["# pocket", f"# num_segs={len(listed)}", "# YTID, start_seconds, end_seconds, positive_labels"]
            for clip in listed:
                known = [broad[labels[clip][0].partition(":")[0]], *labels[clip]]
                lines.append(f'{clip}, 0.000, 1.000, "{",".join(mids[label] for label in known)}"')
            (root / f"{list_name}_segments.csv").write_text("\n".join(lines) + "\n")


def render(out: Path, size: str, seed: int, jobs: int, held_out: bool) -> None:
    """Render all parts. `OUT/pocket.json` is written last and marks a complete folder."""
    renderer = Renderer(out, SIZES[size], seed, held_out)
    description = {"size": size, "seed": seed, "held_out": held_out}
    done = out / "pocket.json"
    if done.exists():
        if json.loads(done.read_text()) == description:
            return
        raise SystemExit(
            f"{out} holds other sounds ({done.read_text().strip()}): choose another folder (--sounds FOLDER)"
        )
    begin = time.perf_counter()
    for part in (renderer.keywords, renderer.voices, renderer.notes, renderer.surroundings, renderer.pool):
        tasks = part()
        made = run(tasks, jobs)
        if part == renderer.notes:
            renderer.write_notes(made)
        if part == renderer.pool:
            renderer.write_pool({name for names in made for name in names or ()})
        print(f"{part.__name__}: {len(tasks)} tasks, {time.perf_counter() - begin:.0f} s so far", flush=True)
    done.write_text(json.dumps(description) + "\n")


def check_tools() -> None:
    """Exit with one line if a program or a sound font is missing."""
    missing = [name for name in ("espeak-ng", "fluidsynth") if shutil.which(name) is None]
    missing += [str(font) for font in music.FONTS if not font.exists()]
    if missing:
        sys.exit(f"missing: {', '.join(missing)} (Debian: espeak-ng fluidsynth fluid-soundfont-gm timgm6mb-soundfont)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--held_out", action="store_true")
    options = parser.parse_args()
    check_tools()
    render(options.out, options.size, options.seed, options.jobs, options.held_out)


if __name__ == "__main__":
    main()
