"""Extract sounds from Debian packages: audio files, the samples of GUS patches and those of SoundFonts."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

MIN_SECONDS, MAX_SECONDS = 0.1, 10.0  # shorter sounds are left out, samples of instruments are cut at the end
_AUDIO = {".wav", ".ogg", ".flac", ".aiff", ".opus"}
_GSM_RATE = 8_000  # Hz; a raw GSM file has no header

Samples = NDArray[np.int16]


class Found(NamedTuple):
    """A sound below the output folder.

    Args:
        path: Path relative to the output folder: "audio", the package, and the path inside the package.
        seconds: Duration in seconds.
    """

    path: Path
    seconds: float


class Sample(NamedTuple):
    """A sample of an instrument.

    Args:
        name: Name inside its file. A GUS patch has numbers instead.
        values: Mono samples. Shape (samples,).
        sample_rate: In Hz.
    """

    name: str
    values: Samples
    sample_rate: int

    @property
    def usable(self) -> bool:
        """Whether the sample is long enough."""
        return len(self.values) >= MIN_SECONDS * self.sample_rate


def gus_samples(content: bytes) -> Iterator[Sample]:
    """Yield every sample of a GUS patch, in the order of the file.

    The headers of patch, instrument and layer have 129, 63 and 47 bytes, the header of each sample has 96 (Gravis
    Ultrasound Software Development Kit, appendix "Patch files"). Numbers are little-endian.

    Args:
        content: Bytes of the file.
    """
    offset, count = 129 + 63 + 47, content[129 + 63 + 6]
    for number in range(count):
        (size,) = struct.unpack_from("<I", content, offset + 8)
        (sample_rate,) = struct.unpack_from("<H", content, offset + 20)
        modes = content[offset + 55]  # bit 0: 16 bits a sample, bit 1: unsigned
        raw = content[offset + 96 : offset + 96 + size]
        offset += 96 + size
        yield Sample(str(number), _as_int16(raw, wide=bool(modes & 1), unsigned=bool(modes & 2)), sample_rate)


def _as_int16(raw: bytes, wide: bool, unsigned: bool) -> Samples:
    """Return samples of 8 or 16 bits (`wide`) as int16."""
    if wide:
        values = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2" if unsigned else "<i2").astype(np.int32)
        return (values - (32_768 if unsigned else 0)).astype(np.int16)
    values = np.frombuffer(raw, "u1" if unsigned else "i1").astype(np.int32)
    return ((values - (128 if unsigned else 0)) * 256).astype(np.int16)


def sound_font_samples(content: bytes) -> Iterator[Sample]:
    """Yield every mono or left sample of a SoundFont 2, in the order of the file; the first one of each name.

    The chunk "smpl" holds all samples, "shdr" a record of 46 bytes for each (SoundFont Technical Specification 2.04,
    sections 6.1 and 7.10).

    Args:
        content: Bytes of the file.
    """
    chunks = _riff_chunks(content, 0, len(content))
    (first, size), (begin_of_all, size_of_all) = chunks[b"shdr"], chunks[b"smpl"]
    values = np.frombuffer(content, "<i2", count=size_of_all // 2, offset=begin_of_all)
    seen = set()
    for record in range(size // 46 - 1):  # the last record is a terminator
        title, begin, end, _, _, sample_rate = struct.unpack_from("<20sIIIII", content, first + 46 * record)
        name = title.split(b"\0")[0].decode("latin-1").strip()
        plain = re.sub(r"[^A-Za-z0-9#]+", "_", re.sub(r"\((L|R)\)$", "", name))
        sample = Sample(plain, values[begin:end], sample_rate)
        if not name.endswith("(R)") and plain not in seen and sample.usable:
            seen.add(plain)
            yield sample


def _riff_chunks(content: bytes, begin: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Return offset and size of each chunk between two offsets, inside lists too, by name."""
    chunks: dict[bytes, tuple[int, int]] = {}
    while begin + 8 <= end:
        name, (size,) = content[begin : begin + 4], struct.unpack_from("<I", content, begin + 4)
        if name in (b"RIFF", b"LIST"):
            chunks |= _riff_chunks(content, begin + 12, begin + 8 + size)
        else:
            chunks[name] = begin + 8, size
        begin += 8 + size + size % 2
    return chunks


def unpack(package: Path, folder: Path) -> None:
    """Unpack the files of a Debian package into a folder, unless the folder exists."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["dpkg-deb", "-x", str(package), str(partial)], check=True)
    except FileNotFoundError:
        sys.exit("dpkg-deb is required to unpack Debian packages: install the package dpkg")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{package}: dpkg-deb could not unpack it (status {error.returncode}); delete it and fetch it again")
    partial.rename(folder)


def lay_out(unpacked: Path, audio: Path) -> None:
    """Write the sounds of an unpacked package below a folder. Files that exist are kept.

    Args:
        unpacked: Folder of the unpacked package.
        audio: Folder of its sounds. Paths lack the first two folders of the package, "usr" and "share".
    """
    for path in sorted(unpacked.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        suffix, target = path.suffix.lower(), audio / Path(*path.relative_to(unpacked).parts[2:])
        if suffix == ".gsm":
            _write_gsm(path, target.with_suffix(".wav"))
        elif suffix == ".pat" and not target.with_name(f"{target.stem}_0.flac").exists():
            for sample in filter(lambda sample: sample.usable, gus_samples(path.read_bytes())):
                _write_sample(target.with_name(f"{target.stem}_{sample.name}.flac"), sample)
        elif suffix == ".sf2" and not target.with_suffix("").exists():
            for sample in sound_font_samples(path.read_bytes()):
                _write_sample(target.with_suffix("") / f"{sample.name.replace('#', 's')}.flac", sample)
        elif suffix in _AUDIO and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)


def _write_gsm(path: Path, target: Path) -> None:
    if target.exists():
        return
    values, sample_rate = soundfile.read(
        path, dtype="int16", format="RAW", subtype="GSM610", samplerate=_GSM_RATE, channels=1
    )
    _write_sample(target, Sample("", values, sample_rate), whole=True)


def _write_sample(path: Path, sample: Sample, whole: bool = False) -> None:
    """Write a sample as 16-bit audio, at most ten seconds of it unless `whole`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = sample.values if whole else sample.values[: int(MAX_SECONDS * sample.sample_rate)]
    soundfile.write(path, values, sample.sample_rate, subtype="PCM_16")


def usable_sounds(out: Path) -> list[Found]:
    """Return all sounds of at least `MIN_SECONDS` below `out`/audio, sorted by path."""
    found = []
    for path in sorted((out / "audio").rglob("*")):
        if not path.is_file():
            continue
        try:
            seconds = soundfile.info(path).duration
        except soundfile.LibsndfileError:  # lmms-common has five Ogg files that hold no Vorbis
            continue
        if seconds >= MIN_SECONDS:
            found.append(Found(path.relative_to(out), seconds))
    return found
