from __future__ import annotations

import pytest
import torch

from distill.adapters.timeline import Timeline
from distill.students.student import Student
from tests.students.tiny import STUDENT_NAMES, tiny_student


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_the_times_of_every_student_are_even_and_cover_the_clip(name: str) -> None:
    timeline = Timeline(tiny_student(name).eval(), 44_100)
    for seconds in (0.3, 1.07, 1.98):
        with torch.no_grad():
            frames, times = timeline(torch.randn(2, int(seconds * 44_100)) * 0.1)
        assert frames.shape == (2, len(times), timeline.student.frame_dim)
        assert 0 <= float(times[0]) < timeline.hop
        assert seconds - timeline.hop - 1e-3 < float(times[-1]) <= seconds
        assert len(times) == 1 or float((times.diff() - timeline.hop).abs().max()) < 1e-6


def test_each_time_gets_the_nearest_frame(student: Student) -> None:
    waveform = torch.randn(1, 32_000) * 0.1
    with torch.no_grad():
        frames, times = Timeline(student, 32_000)(waveform)
        own = student.embed(waveform, 32_000)
    for time, frame in zip(times, frames[0], strict=True):
        nearest = int((own.frame_times - time).abs().argmin())
        torch.testing.assert_close(frame, own.frames[0, nearest], rtol=1e-5, atol=1e-6)
    assert len(times) > own.frames.shape[1]  # the last frame is repeated up to the end


@pytest.mark.parametrize("kind", ["student", "whole_clips"])
def test_after_the_end_of_a_shorter_clip_its_last_frame_is_repeated(kind: str, request: pytest.FixtureRequest) -> None:
    timeline = Timeline(request.getfixturevalue(kind), 32_000)
    long, short = torch.randn(32_000) * 0.1, torch.randn(16_000) * 0.1
    padded = torch.stack([long, torch.cat([short, torch.zeros(16_000)])])
    with torch.no_grad():
        together, _ = timeline(padded, torch.tensor([32_000, 16_000]))
        alone, times = timeline(short.unsqueeze(0))
    torch.testing.assert_close(together[1, : len(times)], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1, -1], alone[0, -1], rtol=1e-4, atol=1e-5)


def test_the_hop_is_exact_so_that_a_long_clip_has_no_drift(student: Student) -> None:
    assert Timeline(student, 32_000).hop == 0.016
    assert Timeline(tiny_student("hear"), 16_000).hop == 0.02


def test_a_student_of_whole_clips_encodes_centred_windows(whole_clips: Student) -> None:
    waveform = torch.zeros(1, 3 * 22_050)
    waveform[:, 33_075:] = 1.0  # from 1.5 s on
    with torch.no_grad():
        frames, times = Timeline(whole_clips, 22_050)(waveform)
    assert len(times) == 61
    assert frames.shape == (1, 61, 2)
    level = frames[0, :, 0]
    assert level[: times.tolist().index(1.0)].abs().max() < 0.02  # no window reaches the sound
    assert float(level[30]) == pytest.approx(0.5, abs=0.02)  # centred on its beginning
    assert float(level[50]) == pytest.approx(1.0, abs=0.02)


def test_gradients_reach_the_student(student: Student) -> None:
    Timeline(student, 32_000)(torch.randn(1, 16_000))[0].sum().backward()
    assert any(weight.grad is not None for weight in student.parameters())
