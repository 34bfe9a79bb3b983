"""Pairing of the frames of two encoders by their times in seconds, never by stretching arrays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.batch import Embeddings
from distill.data.errors import UserError, require_one_of

ALIGNMENTS = ("auto", "pool_student", "pool_teacher", "interpolate_teacher", "index")
_POOLING_RATIO = 2.0  # at this ratio of hops and above, the frames of the finer encoder are averaged
_EQUAL_HOPS = 0.05  # hops whose relative difference is below this are equal
_EDGE = 1e-3  # of a hop: a frame centre on the edge of a span belongs to the span that begins there


class Aligned(NamedTuple):
    """Paired frames of a student and a teacher.

    Args:
        student: Frames of the student. Shape (batch, time, student's frame_dim).
        teacher: Frames of the teacher. Shape (batch, time, teacher's frame_dim).
        mask: True where both frames are valid. Shape (batch, time), bool.
    """

    student: Tensor
    teacher: Tensor
    mask: Tensor


class Alignment:
    """Function that pairs the frames of two encoders.

    - `pool_student` pairs each teacher frame with the mean of the student frames in its span. The span is
      [centre - hop / 2, centre + hop / 2), and a frame is in it if its centre is. "auto" chooses this mode if the
      teacher's hop is at least twice the student's.
    - `pool_teacher` does the same with exchanged roles. "auto" chooses it if the student's hop is at least twice the
      teacher's.
    - `interpolate_teacher` pairs each student frame with the teacher at that time: linear between two centres, constant
      for one hop beyond the ends. If the hops are equal within 5 %, it takes the nearest frame. "auto" chooses it
      otherwise.
    - `index` pairs frames with the same index, for equal hops. It ignores the offsets and the teacher's mask, as in
      HEAR's official code.

    Args:
        student_hop: Seconds between two frames of the student.
        teacher_hop: Seconds between two frames of the teacher.
        mode: One of the above, or "auto".

    Raises:
        UserError: the mode is unknown, an encoder has no frames, or the mode is `index` and the hops differ.
    """

    def __init__(self, student_hop: float, teacher_hop: float, mode: str = "auto") -> None:
        require_one_of("alignment", mode, ALIGNMENTS)
        for role, hop in (("student", student_hop), ("teacher", teacher_hop)):
            if not hop > 0:
                raise UserError(f"the {role} embeds whole clips and has no frames to align; use --objective.level clip")
        ratio = teacher_hop / student_hop
        self.student_hop, self.teacher_hop = student_hop, teacher_hop
        self.equal_hops = abs(ratio - 1) < _EQUAL_HOPS
        if mode == "index" and not self.equal_hops:
            raise UserError(
                f"alignment 'index' pairs frames by number, and the teacher's hop is {teacher_hop * 1000:g} ms, the "
                f"student's {student_hop * 1000:g} ms; 'auto' aligns them by time"
            )
        if mode == "auto":
            finer_teacher = "pool_teacher" if ratio <= 1 / _POOLING_RATIO else "interpolate_teacher"
            mode = "pool_student" if ratio >= _POOLING_RATIO else finer_teacher
        self.mode = mode

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Aligned:
        """Return the paired frames of one batch."""
        if self.mode == "pool_student":
            pooled, mask = _pool(student, teacher.frame_times, self.teacher_hop)
            return Aligned(pooled, teacher.frames, mask & teacher.frame_mask)
        if self.mode == "pool_teacher":
            pooled, mask = _pool(teacher, student.frame_times, self.student_hop)
            return Aligned(student.frames, pooled, mask & student.frame_mask)
        if self.mode == "index":
            time = min(student.frames.shape[1], teacher.frames.shape[1])
            return Aligned(student.frames[:, :time], teacher.frames[:, :time], student.frame_mask[:, :time])
        interpolated, mask = _interpolate(teacher, student.frame_times, self.teacher_hop, nearest=self.equal_hops)
        return Aligned(student.frames, interpolated, mask & student.frame_mask)


def _pool(fine: Embeddings, centres: Tensor, hop: float) -> tuple[Tensor, Tensor]:
    """Return the mean of the valid fine frames in each coarse span, and a mask of the spans that have any.

    Args:
        fine: Embeddings whose frames are averaged.
        centres: Centres of the coarse frames in seconds. Shape (coarse time,).
        hop: Seconds between two coarse frames.

    Returns:
        Shapes (batch, coarse time, dim) and (batch, coarse time), bool.
    """
    starts = centres.double() - hop / 2
    times = fine.frame_times.double() + _EDGE * hop
    span = torch.searchsorted(starts, times, right=True) - 1
    inside = (span >= 0) & (times < starts[span.clamp(min=0)] + hop)
    used = fine.frame_mask & inside
    span = span.clamp(min=0)
    sums = fine.frames.new_zeros(len(fine.frames), len(centres), fine.frames.shape[2])
    sums = sums.index_add(1, span, fine.frames.masked_fill(~used.unsqueeze(2), 0))
    counts = sums.new_zeros(sums.shape[:2]).index_add(1, span, used.to(sums.dtype))
    return sums / counts.clamp(min=1).unsqueeze(2), counts > 0


def _interpolate(teacher: Embeddings, times: Tensor, hop: float, nearest: bool) -> tuple[Tensor, Tensor]:
    """Return the teacher's frames at other times, and a mask of the times with at least one valid neighbour.

    Args:
        teacher: Embeddings of the teacher.
        times: Times in seconds. Shape (times,).
        hop: Seconds between two frames of the teacher.
        nearest: Whether to take the nearest frame. Otherwise two frames are interpolated.

    Returns:
        Shapes (batch, times, dim) and (batch, times), bool.
    """
    centres, times = teacher.frame_times.double(), times.double()
    left = (torch.searchsorted(centres, times + _EDGE * hop, right=True) - 1).clamp(min=0)
    right = (left + 1).clamp(max=len(centres) - 1)
    gap = (centres[right] - centres[left]).clamp(min=hop * _EDGE)
    share = ((times - centres[left]) / gap).clamp(0, 1)
    if nearest:
        share = (share >= 0.5).double()
    near_left, near_right = ((times - centres[side]).abs() < hop * (1 + _EDGE) for side in (left, right))
    valid_left, valid_right = teacher.frame_mask[:, left] & near_left, teacher.frame_mask[:, right] & near_right
    share = share.to(teacher.frames.dtype).expand(valid_left.shape)
    share = torch.where(valid_left & valid_right, share, valid_right.to(share.dtype)).unsqueeze(2)
    frames = teacher.frames.masked_fill(~teacher.frame_mask.unsqueeze(2), 0)
    return torch.lerp(frames[:, left], frames[:, right], share), valid_left | valid_right
