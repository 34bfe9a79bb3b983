"""Where two encoders meet in time: frames are paired by the seconds they stand for, never by stretching arrays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.batch import Embeddings
from distill.data.errors import UserError, require_one_of

ALIGNMENTS = ("auto", "pool_student", "pool_teacher", "interpolate_teacher", "index")
_COARSER = 2.0  # from this ratio of hops on, the finer side is averaged
_EQUAL = 0.05  # hops that differ by less are equal
_EDGE = 1e-3  # of a hop: a frame centre on the edge of a span belongs to the span that begins there


class Aligned(NamedTuple):
    """Frames of a student and a teacher, pair by pair.

    Args:
        student: Shape (batch, time, student's frame_dim).
        teacher: Shape (batch, time, teacher's frame_dim).
        mask: True where both have something to say. Shape (batch, time), bool.
    """

    student: Tensor
    teacher: Tensor
    mask: Tensor


class Alignment:
    """Pairs the frames of two encoders.

    - `pool_student`: each teacher frame with the mean of the student frames whose centres lie in its span, which is
      [centre - hop / 2, centre + hop / 2). Chosen where the teacher's hop is at least twice the student's.
    - `pool_teacher`: the same with the roles exchanged, where the student is the coarser one.
    - `interpolate_teacher`: each student frame with the teacher at that time, linearly between two centres and held at
      the ends for one hop; the nearest frame where the hops are equal within 5 %.
    - `index`: frame by frame, for equal hops; neither the offsets of the two nor the teacher's mask is looked at, as
      in HEAR's official code.

    Args:
        student_hop: Seconds between two frames of the student.
        teacher_hop: Seconds between two frames of the teacher.
        mode: One of the above, or "auto".

    Raises:
        UserError: an unknown mode, an encoder that has no frames, or `index` with hops that differ.
    """

    def __init__(self, student_hop: float, teacher_hop: float, mode: str = "auto") -> None:
        require_one_of("alignment", mode, ALIGNMENTS)
        for role, hop in (("student", student_hop), ("teacher", teacher_hop)):
            if not hop > 0:
                raise UserError(f"the {role} embeds whole clips and has no frames to align; use --objective.level clip")
        ratio = teacher_hop / student_hop
        self.student_hop, self.teacher_hop = student_hop, teacher_hop
        self.equal_hops = abs(ratio - 1) < _EQUAL
        if mode == "index" and not self.equal_hops:
            raise UserError(
                f"alignment 'index' pairs frames by number, and the teacher's hop is {teacher_hop * 1000:g} ms, the "
                f"student's {student_hop * 1000:g} ms; 'auto' aligns them by time"
            )
        if mode == "auto":
            finer = "pool_teacher" if ratio <= 1 / _COARSER else "interpolate_teacher"
            mode = "pool_student" if ratio >= _COARSER else finer
        self.mode = mode

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Aligned:
        """Pair the frames of one batch."""
        if self.mode == "pool_student":
            pooled, mask = _pool(student, teacher.frame_times, self.teacher_hop)
            return Aligned(pooled, teacher.frames, mask & teacher.frame_mask)
        if self.mode == "pool_teacher":
            pooled, mask = _pool(teacher, student.frame_times, self.student_hop)
            return Aligned(student.frames, pooled, mask & student.frame_mask)
        if self.mode == "index":
            time = min(student.frames.shape[1], teacher.frames.shape[1])
            return Aligned(student.frames[:, :time], teacher.frames[:, :time], student.frame_mask[:, :time])
        at_student, mask = _interpolate(teacher, student.frame_times, self.teacher_hop, nearest=self.equal_hops)
        return Aligned(student.frames, at_student, mask & student.frame_mask)


def _pool(fine: Embeddings, centres: Tensor, hop: float) -> tuple[Tensor, Tensor]:
    """Mean of the valid fine frames in each coarse span (batch, coarse time, dim), and where there is any."""
    begins = centres.double() - hop / 2
    at = fine.frame_times.double() + _EDGE * hop
    span = torch.searchsorted(begins, at, right=True) - 1
    inside = (span >= 0) & (at < begins[span.clamp(min=0)] + hop)
    used = fine.frame_mask & inside
    span = span.clamp(min=0)
    sums = fine.frames.new_zeros(len(fine.frames), len(centres), fine.frames.shape[2])
    sums = sums.index_add(1, span, fine.frames.masked_fill(~used.unsqueeze(2), 0))
    counts = sums.new_zeros(sums.shape[:2]).index_add(1, span, used.to(sums.dtype))
    return sums / counts.clamp(min=1).unsqueeze(2), counts > 0


def _interpolate(teacher: Embeddings, times: Tensor, hop: float, nearest: bool) -> tuple[Tensor, Tensor]:
    """The teacher's frames at other times (batch, times, dim), and where one of the two neighbours is valid."""
    centres, at = teacher.frame_times.double(), times.double()
    left = (torch.searchsorted(centres, at + _EDGE * hop, right=True) - 1).clamp(min=0)
    right = (left + 1).clamp(max=len(centres) - 1)
    gap = (centres[right] - centres[left]).clamp(min=hop * _EDGE)
    share = ((at - centres[left]) / gap).clamp(0, 1)
    if nearest:
        share = (share >= 0.5).double()
    near_left, near_right = ((at - centres[side]).abs() < hop * (1 + _EDGE) for side in (left, right))
    valid_left, valid_right = teacher.frame_mask[:, left] & near_left, teacher.frame_mask[:, right] & near_right
    share = share.to(teacher.frames.dtype).expand(valid_left.shape)
    share = torch.where(valid_left & valid_right, share, valid_right.to(share.dtype)).unsqueeze(2)
    frames = teacher.frames.masked_fill(~teacher.frame_mask.unsqueeze(2), 0)
    return torch.lerp(frames[:, left], frames[:, right], share), valid_left | valid_right
