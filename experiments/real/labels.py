"""Labels and splits of real sounds, from their packages and names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DRUMS = {  # the names in drum kits
    "kick": r"(^|[^a-z])(kick|bd|bassdrum|bass_drum|hardhse_k|kick\d?)|kick|bassdrum",
    "snare": r"snare|(^|[^a-z])(sn|sd|sr|sn\d)[^a-z]|rimshot|snr",
    "hat": r"hi-?hat|hihat|(^|[^a-z])(hh|ho|chh|ohh|hat|hh\d)[^a-z]|hhclosed|hhopen|hhpedal|hat_|hatpedal|hat |sabian",
    "tom": r"tom(?!bourine)|(^|[^a-z])(tm|t1|t2|ft|tm2)[^a-z]",
    "cymbal": r"crash|ride|cymbal|splash|china|(^|[^a-z])(rd|rc|cc|rd2)[^a-z]|paiste|crsh|cra_",
    "hand": r"clap|snap|conga|bongo|cajon|slap|timbale|tumba",
    "shaken": r"tambourine|tombourine|maraca|shaker|cabasa",
    "struck": r"cowbell|cow_?bell|agogo|wood_?block|clave|(^|[^a-z])(cb|cb2|bl)[^a-z]|triangle",
}
FAMILIES = {  # families of General MIDI, by words in the names of samples
    "piano": r"piano(?!.*elec)|p200|rhodes|(^|_)ep_2",
    "mallet": r"celesta|glocken|music_box|vibra(?!-?slap)|marimba|xylo|tubular|dulcimer|kalimba|steel_?drum",
    "plucked": r"harpsi|clavinet|koto|harp_|harp\.|banjo|sitar|shamisen",
    "organ": r"organ|accord|reed_organ|hammond|bandneon|harmonica",
    "guitar": r"guitar|nylon|steel_str|distortion|(^|_)clean_|jazz_g|overdrive|muted_[cf]",
    "bass": r"(finger|picked|pick|slap|fretless|acoustic|synth).*bass|fretless|slap_\w+\d$|bass_",
    "bowed": r"violin|viola|cello|contrabass|string|pizz|tremolo|(^|_)bass_section",
    "brass": r"trumpet|trombone|tuba|horns?_|french_horn|brass",
    "reed": r"sax|oboe|english_horn|bassoon|clarinet",
    "pipe": r"piccolo|flute|recorder|pan_?flute|bottle|shakuhachi|whistle_|ocar",
    "voice": r"oohs|ohh_voices|aahs|ahh|choir|voice",
}
TEST_KITS = {
    "hydrogen/ForzeeStereo",
    "hydrogen/Millo_MultiLayered3",
    "hydrogen/Millo-Drums_v.1",
    "hydrogen/VariBreaks",
    "hydrogen/Audiophob",
    "lmms",
    "freepats",
}
_TEST_LIBRARY = "freepats"
_TEST_LINES = 0.4  # share of the spoken lines
PITCHES = ("C", "Cs", "D", "Ds", "E", "F", "Fs", "G", "Gs", "A", "As", "B")
_NOTE = re.compile(r"(?P<instrument>.+?)_?(?P<letter>[A-G])(?P<accidental>[sb]?)-?\d$")
# Samples of these basses are named by string and fret. The names of the organ's high notes are a semitone too low.
_OTHER_NAMES = {"Finger_Bass", "Picked_Bass", "Slap_Bass", "Pop", "Church_Organ"}
_TEST_INSTRUMENTS = 0.4  # share of the instruments
# The kinds of whole packages, for training. Drums and notes come from their own tasks.
_SPEECH = {"klettres-data", "asterisk-core-sounds-en-wav"}
_EFFECTS = {"wesnoth-1.16-data", "minetest-data"}
_MUSIC = {"asterisk-moh-opsound-wav"}


class Labelled(NamedTuple):
    """A label with the part of the data that it belongs to.

    Args:
        label: Class of the sound. Empty: the sound does not belong to the task.
        part: "train" or "test", or the group by which sounds are split: the drum kit or the sample library.
    """

    label: str
    part: str


NONE = Labelled("", "")


def text_fraction(text: str) -> float:
    """Return a number from 0 to below 1 that depends on the text only: the first 48 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def only_match(patterns: Mapping[str, str], name: str) -> str:
    """Return the label whose pattern matches the name; "" if none or several match."""
    labels = [label for label, pattern in patterns.items() if re.search(pattern, name)]
    return labels[0] if len(labels) == 1 else ""


def package_of(path: Path) -> str:
    """Return the package of a sound at audio/PACKAGE/..."""
    return path.parts[1]


def drum(path: Path) -> Labelled:
    """Return the drum of a sound and its kit."""
    name, package = path.stem.lower(), package_of(path)
    label = only_match(DRUMS, f" {name} ")
    if package == "hydrogen-drumkits" and "emptysample" not in name:
        return Labelled(label, f"hydrogen/{path.parent.name}")
    if "/samples/drums/" in str(path):
        return Labelled(label, "lmms")
    if package == "sonic-pi-samples" and re.match(r"(bd|sn|drum)_", name):
        return Labelled(label, "sonic-pi")
    if "/Drum_000/" in str(path):
        return Labelled(label, "freepats")
    if package == "fluid-soundfont-gm":
        return Labelled("" if only_match(FAMILIES, name) else label, "fluid")
    return NONE


def family(path: Path) -> Labelled:
    """Return the family of an instrument's sample and its sample library."""
    name = path.stem.lower()
    if "/Tone_000/" in str(path):
        return Labelled(only_match(FAMILIES, re.sub(r"^\d+_", "", name)), "freepats")
    if package_of(path) == "fluid-soundfont-gm":
        is_note = re.search(r"_?[a-g]s?_?\d+$|_\d+$", name)
        return Labelled(only_match(FAMILIES, name) if is_note else "", "fluid")
    return NONE


def voice(path: Path) -> Labelled:
    """Return the voice of a spoken line and its split. All voices speak the same lines, so lines are split."""
    if package_of(path) != "hedgewars-data" or "voices" not in path.parts:
        return NONE
    return Labelled(path.parent.name, "test" if text_fraction(path.stem.lower()) < _TEST_LINES else "train")


def note(path: Path) -> Labelled:
    """Return the pitch class of a sample of FluidR3, such as "Fs", and the split of its instrument.

    Octaves are left out, because their numbers differ between instruments.
    """
    if package_of(path) != "fluid-soundfont-gm" or not (found := _NOTE.match(path.stem)):
        return NONE
    if found["instrument"] in _OTHER_NAMES:
        return NONE
    sharper = {"": 0, "s": 1, "b": -1}[found["accidental"]]
    label = PITCHES[(PITCHES.index(found["letter"]) + sharper) % len(PITCHES)]
    return Labelled(label, "test" if text_fraction(found["instrument"]) < _TEST_INSTRUMENTS else "train")


def instrument(path: Path) -> str:
    """Return the name of a sample without its note."""
    found = _NOTE.match(path.stem)
    return found["instrument"] if found else path.stem


def split_of_kit(kit: str) -> str:
    """Return "test" for a drum kit that is kept for tests, otherwise "train"."""
    return "test" if kit in TEST_KITS else "train"


def split_of_library(library: str) -> str:
    """Return "test" for the sample library that is kept for tests, otherwise "train"."""
    return "test" if library == _TEST_LIBRARY else "train"


def kind(path: Path) -> Labelled:
    """Return the kind of a sound and its split: speech, music, effect, drum or note."""
    package = package_of(path)
    if package == "hedgewars-data":
        other = "music" if "/Music/" in str(path) else "effect"
        return Labelled("speech" if "voices" in path.parts else other, "test")
    if package in _SPEECH:
        return Labelled("speech", "train")
    if (found := drum(path)).label:
        return Labelled("drum", split_of_kit(found.part))
    if (found := family(path)).label:
        return Labelled("note", split_of_library(found.part))
    if package in _EFFECTS or (package == "colobot-common-sounds" and path.suffix == ".wav"):
        return Labelled("effect", "train")
    if package in _MUSIC or (package == "colobot-common-sounds" and path.suffix == ".ogg"):
        return Labelled("music", "train")
    return NONE


def labels_of(path: Path) -> dict[str, Labelled]:
    """Return the label and the split of a sound in each task."""
    struck, played = drum(path), family(path)
    return {
        "voices": voice(path),
        "drums": Labelled(struck.label, split_of_kit(struck.part)),
        "instruments": Labelled(played.label, split_of_library(played.part)),
        "kinds": kind(path),
    }
