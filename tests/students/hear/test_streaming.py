"""HEAR over audio that is long or comes in pieces: the same frames as for the whole clip."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.data.batch import AudioBatch
from distill.students.hear import students
from distill.students.hear.streaming import measure_statistics
from distill.students.hear.students import Hear, HearTokenizer
from tests.students.hear.tiny import SIZES


@pytest.fixture(scope="module")
def student() -> Hear:
    return Hear(**SIZES).eval()


def stream_frames(student: Hear, waveform: Tensor, size: int) -> Tensor:
    stream = student.stream(reference=waveform)
    return torch.cat([*(stream.feed(piece) for piece in waveform.split(size)), stream.finish()])


# Numbers of tokens: below a window, exactly one window, one more, exactly an overlap more, many.
@pytest.mark.parametrize("samples", [100, 480, 3_000, 12_640, 12_960, 15_840, 16_160, 50_001])
@pytest.mark.parametrize("size", [37, 160, 4_001, 100_000])
def test_a_stream_returns_the_frames_of_the_whole_clip(samples: int, size: int, student: Hear) -> None:
    waveform = torch.randn(samples) * 0.1 + 0.02
    whole = student.embed(waveform, 16_000).frames[0]
    streamed = stream_frames(student, waveform, size)
    assert streamed.shape == whole.shape
    torch.testing.assert_close(streamed, whole, atol=1e-4, rtol=1e-4)


def test_frames_are_returned_as_soon_as_they_are_final(student: Hear) -> None:
    waveform = torch.randn(32_000) * 0.1
    stream = student.stream(reference=waveform)
    first = stream.feed(waveform[:16_000])
    assert len(first) == 30  # a window of 40 tokens less the overlap
    torch.testing.assert_close(first, student.embed(waveform, 16_000).frames[0, :30], atol=1e-4, rtol=1e-4)


def test_statistics_equal_those_of_the_front_end(student: Hear) -> None:
    waveform = torch.randn(20_000) * 0.1 + 0.3
    statistics = measure_statistics(student.front_end, waveform)
    mel = student.front_end(waveform.unsqueeze(0), torch.tensor([20_000])).mel
    centred = waveform - waveform.mean()
    half = student.front_end.mel.points // 2
    mirrored = torch.cat([centred[1 : half + 1].flip(0), centred, centred[-half - 1 : -1].flip(0)])
    raw = student.front_end.log_mel(mirrored.unsqueeze(0))
    torch.testing.assert_close(
        student.front_end.standardise(raw, statistics.mean, statistics.deviation), mel, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("kind", [Hear, HearTokenizer])
def test_long_clips_have_the_same_frames_one_window_at_a_time(
    kind: type[Hear], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = kind(**SIZES).eval()
    waveform = torch.randn(2, 48_000) * 0.1
    lengths = torch.tensor([48_000, 30_000])
    waveform[1, 30_000:] = 0
    batch = AudioBatch.of(waveform, 16_000, lengths)
    with torch.no_grad():
        at_once = encoder(batch)
        monkeypatch.setattr(students, "_LONG", 1.0)
        by_window = encoder(batch)
    inside = at_once.frame_mask
    assert by_window.frame_mask.equal(inside)
    torch.testing.assert_close(by_window.frames[inside], at_once.frames[inside], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_window.frame_times, at_once.frame_times)
    torch.testing.assert_close(by_window.clip, at_once.clip, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_stream_has_the_dtype_of_the_student(dtype: torch.dtype) -> None:
    student = Hear(**SIZES).eval().to(dtype)
    waveform = torch.randn(30_000) * 0.1
    frames = stream_frames(student, waveform, 4_001)
    assert frames.dtype == dtype
    whole = student.embed(waveform, 16_000).frames[0]
    torch.testing.assert_close(frames, whole, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", [Hear, HearTokenizer])
@pytest.mark.parametrize("samples", [3_000, 48_000])
def test_a_clip_in_pieces_has_the_embeddings_of_the_whole_clip(kind: type[Hear], samples: int) -> None:
    encoder = kind(**SIZES).eval()
    waveform = torch.randn(samples) * 0.1 + 0.02
    whole = encoder.embed(waveform, 16_000)
    with torch.inference_mode():
        found = encoder.encode_pieces(lambda: iter(waveform.split(7_001)))
        clip = encoder.encode_pieces(lambda: iter(waveform.split(7_001)), frames=False).clip
    torch.testing.assert_close(found.frames, whole.frames, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.frame_times, whole.frame_times)
    torch.testing.assert_close(clip, whole.clip, atol=1e-4, rtol=1e-4)


def test_a_stream_needs_statistics(student: Hear) -> None:
    with pytest.raises(ValueError, match="statistics"):
        student.stream()
