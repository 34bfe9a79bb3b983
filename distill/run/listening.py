"""Short sounds of clips, small enough to be part of a page."""

from __future__ import annotations

import io
import os

import soundfile
from tqdm import tqdm

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest

SECONDS = 3.0
"""Length of a sound, from the middle of its clip."""
MAX_BYTES = 32 << 20
"""Size of all sounds of a page, in bytes of Base64."""
_SAMPLE_RATE = 24_000  # Hz; the lowest that MP3 codes without an audible loss of brightness


def excerpts(manifest: Manifest, max_bytes: int = MAX_BYTES) -> list[bytes]:
    """Return 3 s from the middle of each clip as MP3, mono, at 24 kHz.

    Args:
        manifest: The clips.
        max_bytes: Size of all excerpts, in bytes of Base64. Clips after that have none.

    Returns:
        The MP3 of each clip. Empty for a clip that cannot be read, and beyond `max_bytes`.
    """
    clips, sounds, size = ClipDataset(manifest, _SAMPLE_RATE, Crop(SECONDS)), list[bytes](), 0
    interval = 0.5 if os.isatty(2) else 30.0  # seconds
    for row in tqdm(range(len(manifest)), "encode sounds", unit="clip", delay=5, leave=False, mininterval=interval):
        batch = clips[row].batch if size < max_bytes else None
        sound = b"" if batch is None else _mp3(batch.waveform[0].numpy())
        size += -(-len(sound) // 3) * 4
        sounds.append(sound if size <= max_bytes else b"")
    return sounds


def _mp3(samples: object) -> bytes:
    """Return samples (samples,) as MP3 of a variable bit rate."""
    file = io.BytesIO()
    soundfile.write(
        file, samples, _SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.6,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return file.getvalue()
