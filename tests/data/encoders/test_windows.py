"""Windows of long clips, with an encoder whose output is known: each frame is the mean of its 0.1 s."""

from __future__ import annotations

import pytest
import torch

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import (
    Covered,
    Tiling,
    WindowGrid,
    Windows,
    by_length,
    by_similar_length,
    encode_apart,
    encode_in_windows,
    groups_by_length,
)

RATE, FRAME = 1000, 100
shapes: list[tuple[int, ...]] = []


def encode(batch: AudioBatch) -> Embeddings:
    """Encode a batch as frames of 0.1 s, and their mean."""
    shapes.append(tuple(batch.waveform.shape))
    spare = -batch.waveform.shape[1] % FRAME
    blocks = torch.nn.functional.pad(batch.waveform, (0, spare)).unflatten(1, (-1, FRAME))
    valid = (batch.lengths // FRAME).clamp(min=1)
    mask = frame_mask(valid, blocks.shape[1])
    times = (torch.arange(blocks.shape[1]) + 0.5) * FRAME / RATE
    return Embeddings.of_frames(blocks.mean(2, keepdim=True), times, mask)


def tiling(windows: Windows) -> Tiling:
    """The windows of `encode`, whose frames cover a whole number of tenths of a second."""
    return windows.tiling(lambda seconds: Covered(0.0, int(round(seconds * 10, 6)) / 10))


def batch(*lengths: int) -> AudioBatch:
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = torch.randn(length)
    return AudioBatch.of(waveform, RATE, torch.tensor(lengths))


@pytest.mark.parametrize(
    "windows",
    [Windows(1.0), Windows(0.95), Windows(1.0, hop=0.0), Windows(1.0, hop=0.5), Windows(0.8, 0.2), Windows(1.0, 0.6)],
)
def test_frames_are_those_of_the_whole_clip(windows: Windows) -> None:
    clips = batch(3700, 2150, 1000, 90)
    whole, cut = encode(clips), encode_in_windows(encode, clips, tiling(windows))
    for clip, length in enumerate(clips.lengths.tolist()):
        expected, found = whole.frames[clip][whole.frame_mask[clip]], cut.frames[clip][cut.frame_mask[clip]]
        count = length // FRAME if windows.hop in (None, 0.0, windows.seconds) else len(found)
        assert len(found) >= len(expected) - 1 >= 0
        torch.testing.assert_close(found[: len(expected)], expected[: len(found)])
        times = cut.frame_times[cut.frame_mask[clip]]
        torch.testing.assert_close(times[:count], whole.frame_times[: len(times)][:count])


@pytest.mark.parametrize(
    "windows", [Windows(1.0), Windows(0.77), Windows(1.0, 0.5), Windows(0.8, 0.2), Windows(0.5, 1.0)]
)
def test_a_clip_in_a_batch_has_the_embeddings_of_the_clip_alone(windows: Windows) -> None:
    clips = batch(3700, 2150, 1000, 900, 700, 480, 90)
    together = encode_in_windows(encode, clips, tiling(windows))
    for row, length in enumerate(clips.lengths.tolist()):
        alone = encode_in_windows(encode, AudioBatch.of(clips.waveform[row, :length], RATE), tiling(windows))
        torch.testing.assert_close(together.clip[row], alone.clip[0])
        frames = together.frames[row][together.frame_mask[row]]
        torch.testing.assert_close(frames, alone.frames[0][alone.frame_mask[0]])


def test_the_clip_is_the_mean_by_seconds_or_the_maximum() -> None:
    clips = batch(2500)
    parts = torch.stack([encode(AudioBatch.of(part, RATE)).clip[0] for part in clips.waveform[0].split(1000)])
    weights = torch.tensor([1000.0, 1000.0, 500.0]).view(3, 1)
    mean = encode_in_windows(encode, clips, tiling(Windows(1.0))).clip[0]
    torch.testing.assert_close(mean, (parts * weights).sum(0) / 2500)
    torch.testing.assert_close(
        encode_in_windows(encode, clips, tiling(Windows(1.0, pooling="max"))).clip[0], parts.amax(0)
    )


def test_a_hop_beyond_the_window_skips_audio() -> None:
    clips = batch(3000)
    cut = encode_in_windows(encode, clips, tiling(Windows(0.5, hop=1.0)))
    torch.testing.assert_close(cut.frame_times, torch.cat([k + (torch.arange(5) + 0.5) / 10 for k in range(3)]))
    assert cut.frames.shape == (1, 15, 1)


@pytest.mark.parametrize(
    ("seconds", "hop"), [(1.0, 1.0), (0.95, 0.9), (0.57, 0.5)], ids=["covered", "half a frame", "most of a frame"]
)
def test_windows_overlap_by_what_their_frames_do_not_cover(seconds: float, hop: float) -> None:
    clips = batch(3600, 1500)
    whole, cut = encode(clips), encode_in_windows(encode, clips, tiling(Windows(seconds)))
    assert tiling(Windows(seconds)).hop == hop
    torch.testing.assert_close(cut.frame_times[:35], whole.frame_times[:35])  # at equal distances, without a gap
    torch.testing.assert_close(cut.frames[0, :35], whole.frames[0, :35])
    without = encode_in_windows(encode, clips, tiling(Windows(seconds, hop=0.0)))
    gap = without.frame_times[without.frame_mask[0]].diff().max()
    torch.testing.assert_close(gap, torch.tensor(0.1 + seconds - hop))


def test_frames_that_begin_before_a_window_belong_to_it() -> None:
    def centred(batch: AudioBatch) -> Embeddings:  # on the first sample, as in a spectrogram that is mirrored
        return encode(batch)._replace(frame_times=encode(batch).frame_times - 0.05)

    found = Windows(0.98).tiling(lambda _: Covered(-0.05, 0.85))
    times = encode_in_windows(centred, batch(3600), found).frame_times
    torch.testing.assert_close(times[:35], torch.arange(35) / 10)


def test_clips_up_to_a_window_are_encoded_as_they_are() -> None:
    shapes.clear()
    for samples in (950, 949, 120):
        encode_in_windows(encode, batch(samples), tiling(Windows(0.95)))
    assert shapes == [(1, 950), (1, 949), (1, 120)]


def test_short_clips_are_encoded_whole_beside_long_ones() -> None:
    clips = batch(3000, 800, 1200, 90)
    found = encode_apart(clips, 1.0, encode, lambda longer: encode_in_windows(encode, longer, tiling(Windows(0.5))))
    for row, samples in enumerate(clips.lengths.tolist()):
        alone = AudioBatch.of(clips.waveform[row, :samples], RATE)
        expected = encode_in_windows(encode, alone, tiling(Windows(0.5))) if samples > 1000 else encode(alone)
        torch.testing.assert_close(found.clip[row], expected.clip[0])
        torch.testing.assert_close(found.frames[row][found.frame_mask[row]], expected.frames[0][expected.frame_mask[0]])


@pytest.mark.parametrize("windows", [Windows(1.0), Windows(0.95), Windows(1.0, 0.25), Windows(0.5, 1.0)])
def test_counts_of_seconds_are_those_of_samples(windows: Windows) -> None:
    lengths = torch.randint(1, 8000, (500,))
    by_seconds = tiling(windows).counts(lengths.numpy() / RATE)
    assert by_seconds.tolist() == WindowGrid.of(tiling(windows), lengths, RATE).counts


def test_memory_is_bounded_by_the_window() -> None:
    shapes.clear()
    encode_in_windows(encode, batch(100_000), tiling(Windows(1.0)))
    assert max(rows * samples for rows, samples in shapes) == 8 * 1000


def test_clips_of_equal_length_are_encoded_together_and_keep_their_order() -> None:
    clips = batch(500, 300, 500, 200)
    shapes.clear()
    grouped, whole = by_length(encode, clips), encode(clips)
    assert shapes[:3] == [(1, 200), (1, 300), (2, 500)]
    torch.testing.assert_close(grouped.clip, whole.clip)
    assert grouped.frame_mask.equal(whole.frame_mask)


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": -1},
        {"seconds": float("inf")},
        {"hop": -0.1},
        {"hop": 1e-6},
        {"seconds": 0.001},
        {"pooling": "median"},
    ],
)
def test_impossible_windows_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="windows"):
        Windows(**options)  # type: ignore[arg-type]


def test_groups_have_clips_of_similar_length_and_the_longest_come_last() -> None:
    lengths = torch.tensor([100, 10, 79, 80, 3, 64, 9])
    assert [rows.tolist() for rows in groups_by_length(lengths)] == [[4, 6, 1], [5, 2], [3, 0]]  # 3 counts as 10
    assert [rows.tolist() for rows in groups_by_length(lengths[:3], share=1.0)] == [[1], [2], [0]]
    assert [rows.tolist() for rows in groups_by_length(torch.tensor([7, 7]), share=1.0)] == [[0, 1]]
    lengths = torch.randint(1, 1000, (50,))
    groups = groups_by_length(lengths)
    assert torch.cat(groups).sort().values.equal(torch.arange(50))
    for rows in groups:
        assert lengths[rows].clamp(min=int(lengths.max()) // 10).min() > 0.79 * lengths[rows].max()


def test_clips_of_similar_length_are_encoded_together_with_little_padding() -> None:
    lengths, seen = torch.tensor([400, 120, 390, 100]), []

    def encode(batch: AudioBatch) -> Embeddings:
        seen.append((tuple(batch.waveform.shape), batch.lengths.tolist(), batch.ids))
        assert batch.host_lengths.equal(batch.lengths)
        frames, mask = batch.waveform.unsqueeze(2), frame_mask(batch.lengths, batch.waveform.shape[1])
        return Embeddings.of_frames(frames, torch.arange(frames.shape[1]).float(), mask)

    batch = AudioBatch.of(torch.randn(4, 400), 100, lengths)
    found, whole = by_similar_length(encode, batch), encode(batch)
    assert seen[:2] == [((2, 120), [100, 120], ("3", "1")), ((2, 400), [390, 400], ("2", "0"))]
    for part, expected in zip(found, whole, strict=True):
        torch.testing.assert_close(part, expected)
