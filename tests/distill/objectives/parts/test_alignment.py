"""Paired frames: against loops, and by the times of an event in both encoders."""

from __future__ import annotations

import pytest
import torch

import distill
from distill.data.batch import Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.objectives.parts.alignment import ALIGNMENTS, Alignment
from tests.students.tiny import STUDENT_NAMES, tiny_student
from tests.teachers.tiny import Options, teacher_names

TEACHERS = teacher_names()


def grid(hop: float, offset: float, seconds: float, dim: int = 3, clips: int = 2) -> Embeddings:
    """Random frames; the second clip is a third shorter."""
    times = offset + hop * torch.arange(int((seconds - offset) / hop) + 1)
    ends = seconds * torch.linspace(1, 2 / 3, clips)
    frames = torch.randn(clips, len(times), dim)
    return Embeddings.of_frames(frames, times, times < ends.unsqueeze(1))


def slow_pool(fine: Embeddings, coarse: Embeddings, hop: float) -> tuple[torch.Tensor, torch.Tensor]:
    pooled = torch.zeros(len(fine.frames), len(coarse.frame_times), fine.frames.shape[2])
    mask = torch.zeros(pooled.shape[:2], dtype=torch.bool)
    for clip in range(len(pooled)):
        for place, centre in enumerate(coarse.frame_times.tolist()):
            inside = [
                fine.frames[clip, index]
                for index, time in enumerate(fine.frame_times.tolist())
                if centre - hop / 2 - 1e-5 <= time < centre + hop / 2 - 1e-5 and fine.frame_mask[clip, index]
            ]
            if inside and coarse.frame_mask[clip, place]:
                pooled[clip, place], mask[clip, place] = torch.stack(inside).mean(0), True
    return pooled, mask


@pytest.mark.parametrize(("fine", "coarse"), [((0.02, 0.005), (0.16, 0.0875)), ((0.02, 0.0125), (0.1, 0.0775))])
def test_pooling_is_the_mean_over_the_span(fine: tuple[float, float], coarse: tuple[float, float]) -> None:
    student, teacher = grid(*fine, 3.0), grid(*coarse, 3.0)
    pooled, mask = slow_pool(student, teacher, coarse[0])
    aligned = Alignment(fine[0], coarse[0])(student, teacher)
    assert aligned.mask.equal(mask)
    torch.testing.assert_close(aligned.student[mask], pooled[mask])
    assert aligned.teacher is teacher.frames
    turned = Alignment(coarse[0], fine[0])(teacher, student)
    assert turned.mask.equal(mask)
    torch.testing.assert_close(turned.teacher[mask], pooled[mask])


def test_interpolation_is_linear_in_time_and_held_for_one_hop() -> None:
    teacher = grid(0.03, 0.05, 1.2, dim=1, clips=1)
    teacher = teacher._replace(
        frames=teacher.frame_times.view(1, -1, 1) * 10 - 1
    )  # linear in time, so interpolation is exact
    student = grid(0.02, 0.003, 1.2, clips=1)
    aligned = Alignment(0.02, 0.03)(student, teacher)
    first, last = teacher.frame_times[0], teacher.frame_times[-1]
    expected = student.frame_times.clamp(first, last) * 10 - 1
    torch.testing.assert_close(aligned.teacher[0, :, 0], expected)
    assert aligned.mask[0].equal((student.frame_times > first - 0.03) & (student.frame_times < last + 0.03))


def test_equal_hops_take_the_nearest_frame() -> None:
    student, teacher = grid(0.02, 0.005, 1.0), grid(0.02, 0.0175, 1.0)
    aligned = Alignment(0.02, 0.02)(student, teacher)
    nearest = (student.frame_times.unsqueeze(1) - teacher.frame_times).abs().argmin(1)
    valid = student.frame_mask & teacher.frame_mask[:, nearest]
    assert aligned.teacher[valid].equal(teacher.frames[:, nearest][valid])


def test_index_pairs_frames_with_the_same_index() -> None:
    student, teacher = grid(0.02, 0.005, 1.0), grid(0.02, 0.0175, 0.9)
    aligned = Alignment(0.02, 0.02, "index")(student, teacher)
    time = teacher.frames.shape[1]
    assert aligned.student.equal(student.frames[:, :time])
    assert aligned.teacher.equal(teacher.frames)
    assert aligned.mask.equal(student.frame_mask[:, :time])


@pytest.mark.parametrize("mode", sorted(set(ALIGNMENTS) - {"index"}))
def test_frames_outside_a_clip_change_nothing(mode: str) -> None:
    student, teacher = grid(0.02, 0.005, 2.0), grid(0.16, 0.0175, 2.0)
    align = Alignment(0.02, 0.16, mode)
    before = align(student, teacher)
    for side in (student, teacher):
        side.frames[~side.frame_mask] = torch.nan
    after = align(student, teacher)
    assert after.mask.equal(before.mask)
    assert after.mask.any()
    torch.testing.assert_close(after.student[after.mask], before.student[after.mask])
    torch.testing.assert_close(after.teacher[after.mask], before.teacher[after.mask])


def marked(embeddings: Embeddings, hop: float, time: float) -> Embeddings:
    """Frames that are 1 if their span, one hop wide, touches the time, otherwise 0."""
    distance = (time - embeddings.frame_times.double()).abs()
    inside = (distance <= hop / 2 * (1 + 1e-5)).float()  # times are rounded; the event may lie between two spans
    return embeddings._replace(frames=inside.view(1, -1, 1).repeat(2, 1, 1))


def test_an_event_is_paired_with_itself_for_every_teacher_and_student(options: Options) -> None:
    """Teachers take the role of the student too, so that either hop can be the longer one."""
    waveform, lengths = torch.randn(2, 40_000) * 0.1, torch.tensor([40_000, 26_000])
    known: dict[str, Encoder] = {name: distill.create_teacher(name, **options[name]) for name in TEACHERS}
    known |= {name: tiny_student(name).eval() for name in STUDENT_NAMES}
    embedded = {name: encoder.embed(waveform, 16_000, lengths) for name, encoder in known.items()}
    for student in known:
        for teacher in TEACHERS:
            hops = known[student].frame_hop, known[teacher].frame_hop
            coarser = student if hops[0] > hops[1] else teacher
            times = embedded[coarser].frame_times
            # In the middle of a coarse span: at its edge, the finer frame with the event may belong to the next span.
            time = float(times[(times - 0.75).abs().argmin()])
            pair = marked(embedded[student], hops[0], time), marked(embedded[teacher], hops[1], time)
            aligned = Alignment(*hops)(*pair)
            frame_times = embedded[teacher if aligned.teacher is pair[1].frames else student].frame_times
            both = (aligned.student[..., 0] > 0) & (aligned.teacher[..., 0] > 0) & aligned.mask
            assert both.any(1).all(), (student, teacher)
            for side in (aligned.student, aligned.teacher):
                has_event = (side[..., 0] > 0) & aligned.mask
                distance = (frame_times - time).abs().expand(has_event.shape)[has_event]
                assert float(distance.max()) < max(hops) * 1.5, (student, teacher)


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_a_click_changes_a_students_frames_at_its_time(name: str) -> None:
    """The median over clicks and networks: single networks with random weights can miss the time of a click."""
    quiet, missed = torch.randn(64_000) * 0.01, []
    for _ in range(3):
        student = tiny_student(name).eval()
        before = student.embed(quiet, 16_000)
        for second in (1.0, 1.7, 2.1, 3.0):
            sound = quiet.clone()
            begin = round(second * 16_000) - 80
            sound[begin : begin + 160] += torch.randn(160) * 0.5
            change = (student.embed(sound, 16_000).frames - before.frames).square().sum(2)[0]
            change = change.where(change >= change.max() / 2, 0)
            missed.append(float((change * before.frame_times).sum() / change.sum()) - second)
    assert abs(float(torch.tensor(missed).median())) < student.frame_hop / 2


@pytest.mark.parametrize(
    ("hops", "mode", "message"),
    [
        ((0.02, 0.16), "index", "160 ms"),
        ((0.02, 0.0), "auto", "teacher embeds whole clips"),
        ((0.0, 0.1), "auto", "student embeds whole clips"),
        ((0.02, 0.02), "stretch", "pool_student"),
    ],
)
def test_frames_that_cannot_be_paired_are_refused(hops: tuple[float, float], mode: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Alignment(*hops, mode)
