"""Recordings that are encoded piece by piece, against the same clip at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from distill.data.audio import read as reading
from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import recordings
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.recordings import window_batches
from distill.data.encoders.windows import Covered, Windows, encode_in_windows
from distill.data.errors import AudioError

RATE = 1000


class Steps(Encoder):
    """Mean and level of each 0.1 s. What is less than 0.1 s at the end of a window has no frame."""

    sample_rate = RATE

    def __init__(self, windows: Windows = Windows(seconds=0)) -> None:
        super().__init__()
        self.windows, self.largest = windows, 0
        self.scale = nn.Parameter(torch.ones(1))

    def encode(self, batch: AudioBatch) -> Embeddings:
        self.largest = max(self.largest, batch.waveform.numel())
        spare = -batch.waveform.shape[1] % 100
        blocks = nn.functional.pad(batch.waveform, (0, spare)).unflatten(1, (-1, 100)) * self.scale
        frames = torch.stack([blocks.mean(2), blocks.abs().mean(2)], dim=2)
        mask = frame_mask((batch.lengths // 100).clamp(min=1), frames.shape[1])
        embeddings = Embeddings.of_frames(frames, 0.05 + 0.1 * torch.arange(frames.shape[1]), mask)
        return embeddings._replace(logits=embeddings.clip[:, :1] * 2)


def pieces_of(clip: Tensor, samples: int) -> Callable[[], Iterator[Tensor]]:
    return lambda: iter(clip.split(samples))


@pytest.mark.parametrize(
    "windows",
    [Windows(1.0), Windows(0.97), Windows(1.0, 0.0), Windows(1.0, 0.3), Windows(1.0, 0.3, "max"), Windows(0.5, 1.7)],
)
@pytest.mark.parametrize("seconds", [0.03, 0.97, 1.0, 1.02, 9.7, 13.361])
@pytest.mark.parametrize("piece", [77, 1_000, 4_500])
def test_a_clip_in_pieces_has_the_embeddings_of_the_clip(windows: Windows, seconds: float, piece: int) -> None:
    clip = torch.randn(round(seconds * RATE))
    encoder = Steps(windows)
    whole = encoder.embed(clip, RATE)
    with torch.inference_mode():
        found = encoder.encode_pieces(pieces_of(clip, piece))
        pooled = encoder.encode_pieces(pieces_of(clip, piece), frames=False)
    for name, expected in whole._asdict().items():
        torch.testing.assert_close(getattr(found, name), expected, atol=1e-6, rtol=0, msg=name)
    torch.testing.assert_close(pooled.clip, whole.clip)
    torch.testing.assert_close(pooled.logits, whole.logits)


@pytest.mark.parametrize("seconds", [1.0, 119.9, 120.0, 121.0, 250.0])
def test_an_encoder_without_windows_cuts_only_clips_of_more_than_two_minutes(seconds: float) -> None:
    clip, encoder = torch.randn(round(seconds * RATE)), Steps()
    found = encoder.embed(clip, RATE)
    if seconds <= 120:
        assert encoder.largest == len(clip)
        expected = encoder.encode(AudioBatch.of(clip, RATE))
    else:
        assert encoder.largest == 8 * 10 * RATE
        tiling = Windows().tiling(lambda _: Covered(0, 10))
        expected = encode_in_windows(encoder.encode, AudioBatch.of(clip, RATE), tiling)
    torch.testing.assert_close(found.clip, expected.clip)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode_pieces(pieces_of(clip, 30 * RATE)).clip, expected.clip)


def write(path: Path, seconds: float, rate: int, channels: int = 1, subtype: str = "PCM_16") -> Tensor:
    """Write noise, and return its mean over the channels as it is read."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), channels))
    soundfile.write(path, noise, rate, subtype=subtype)
    return torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1))


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(RATE, 1, "PCM_16"), (2_205, 2, "PCM_24"), (800, 3, "FLOAT")]
)
@pytest.mark.parametrize("windows", [Windows(seconds=0), Windows(9.95), Windows(3.0, 1.0)])
@pytest.mark.parametrize("seconds", [2.0, 125.37, 190.0])
def test_a_file_has_the_embeddings_of_its_waveform(
    rate: int, channels: int, subtype: str, windows: Windows, seconds: float, tmp_path: Path
) -> None:
    waveform = write(tmp_path / "x.wav", seconds, rate, channels, subtype)
    encoder = Steps(windows)
    whole = encoder.embed(waveform, rate)
    found = encoder.embed_file(tmp_path / "x.wav")
    for name, expected in whole._asdict().items():
        torch.testing.assert_close(getattr(found, name), expected, atol=1e-5, rtol=0, msg=name)
    torch.testing.assert_close(encoder.embed_file(tmp_path / "x.wav", frames=False).clip, whole.clip, atol=1e-5, rtol=0)


def test_windows_of_a_file_have_their_times(tmp_path: Path) -> None:
    waveform = write(tmp_path / "x.wav", 36.24, RATE)
    encoder = Steps(Windows(1.05)).train()
    found = list(encoder.windows_of(tmp_path / "x.wav"))
    assert [window.start for window in found[:3]] == [0.0, 1.0, 2.0]  # 50 ms at the end of a window have no frame
    assert found[-1].end == pytest.approx(36.24)
    assert all(window.end - window.start == pytest.approx(1.05) for window in found[:-1])
    for window in found:
        first, last = round(window.start * RATE), round(window.end * RATE)
        alone = encoder.embed(waveform[first:last], RATE)
        torch.testing.assert_close(window.embeddings.clip, alone.clip)
        mask = window.embeddings.frame_mask[0]
        torch.testing.assert_close(window.embeddings.frames[0, mask], alone.frames[0, alone.frame_mask[0]])
    assert encoder.training
    starts = [window.start for window in encoder.windows_of(tmp_path / "x.wav", Windows(5.0, hop=10.0))]
    assert starts == [0, 10, 20, 30]
    encoder.longest_window = 2.0
    with pytest.raises(ValueError, match="windows of 5 s: must be above 0 and at most 2 s"):
        next(encoder.windows_of(tmp_path / "x.wav", Windows(5.0)))


def test_a_file_that_ends_early_is_not_usable(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", 200.0, RATE)
    data = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(data[: len(data) // 2])
    encoder = Steps(Windows(1.0))
    with pytest.raises(AudioError, match="truncated"):
        encoder.embed_file(tmp_path / "x.wav")
    with pytest.raises(AudioError, match="truncated"):
        list(encoder.windows_of(tmp_path / "x.wav"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest: dict[float, int] = {}
    decode, resample_blocks = reading._decode, recordings.resample_blocks
    for seconds in (130.0, 1300.0):
        write(tmp_path / "x.wav", seconds, 1_100)
        sizes = [0]

        def watched_decode(sound: Any, count: int, sizes: list[int] = sizes) -> reading.Samples:
            samples = decode(sound, count)
            sizes.append(len(samples))
            return samples

        def watched_blocks(
            blocks: Iterator[reading.Samples], source: int, target: int, sizes: list[int] = sizes
        ) -> Iterator[Tensor]:
            for block in resample_blocks(blocks, source, target):
                sizes.append(len(block))
                yield block

        monkeypatch.setattr(reading, "_decode", watched_decode)
        monkeypatch.setattr(recordings, "resample_blocks", watched_blocks)
        for encoder in (Steps(), Steps(Windows(1.0))):
            encoder.embed_file(tmp_path / "x.wav", frames=False)
            for _ in encoder.windows_of(tmp_path / "x.wav"):
                pass
            sizes.append(encoder.largest)
        largest[seconds] = max(sizes)
    assert largest[130.0] == largest[1300.0] == 8 * 10 * RATE


@pytest.mark.parametrize("windows", [Windows(seconds=0), Windows(1.0)])
def test_pieces_are_not_kept(windows: Windows) -> None:
    pieces, most = list[weakref.ref[Tensor]](), 0

    def coming() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(60):
            piece = torch.randn(10 * RATE)
            pieces.append(weakref.ref(piece))
            yield piece
            most = max(most, sum(piece() is not None for piece in pieces))

    with torch.inference_mode():
        Steps(windows).encode_pieces(coming, frames=False)
    assert most <= (14 if windows.seconds == 0 else 3)  # two minutes are held to see whether the clip is longer


def test_batches_of_windows_are_full_but_the_last() -> None:
    tiling = Windows(1.0, hop=0.0).tiling(lambda _: Covered(0, 1))
    batches = list(window_batches(iter(torch.randn(20_300).split(2_700)), tiling, RATE, rows=8))
    assert [len(batch) for _, batch in batches] == [8, 8, 5]
    assert [start for starts, _ in batches for start in starts] == list(range(0, 21_000, 1_000))
    assert batches[-1][1].lengths.tolist() == [1000, 1000, 1000, 1000, 300]
    assert list(window_batches(iter([]), tiling, RATE)) == []
