from __future__ import annotations

import torch

from distill.adapters.s3prl import UpstreamExpert
from distill.students.student import Student


def test_clips_at_16_khz_become_hidden_states(folder: str, student: Student) -> None:
    upstream = UpstreamExpert(folder, None)
    clips = [torch.randn(16_000) * 0.1, torch.randn(8_000) * 0.1]
    (hidden,) = upstream(clips)["hidden_states"]
    rate = upstream.get_downsample_rates("hidden_states")
    assert rate == 256
    assert hidden.shape[::2] == (2, student.frame_dim)
    assert abs(hidden.shape[1] - 16_000 / rate) < 5  # what the kit tolerates
    (alone,) = upstream(clips[1:])["hidden_states"]
    torch.testing.assert_close(hidden[1, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)
