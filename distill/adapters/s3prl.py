"""S3PRL and SUPERB: the class of an upstream. The contract: s3prl/upstream/example/expert.py of S3PRL."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from distill.adapters.timeline import Timeline
from distill.students.saved import load_student

_RATE = 16_000  # Hz, of all tasks of SUPERB


class UpstreamExpert(nn.Module):
    """A student as an upstream of S3PRL. It gets clips at 16 kHz; the student resamples.

    Args:
        ckpt: Run folder, student folder or hub id.
        model_config: Not used: the student folder has the configuration.

    Raises:
        UserError: there is no such student.
    """

    def __init__(self, ckpt: str, model_config: str | None = None) -> None:
        super().__init__()
        self.timeline = Timeline(load_student(ckpt), _RATE)
        self.eval()

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the frames (batch, time, dim) of clips (samples,), as the only hidden state."""
        padded = pad_sequence(list(wavs), batch_first=True)
        frames, _ = self.timeline(padded, torch.tensor([len(clip) for clip in wavs], device=padded.device))
        return {"hidden_states": [frames]}

    def get_downsample_rates(self, key: str) -> int:
        """Return the samples from one frame to the next."""
        return round(self.timeline.hop * _RATE)
