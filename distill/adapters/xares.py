"""X-ARES and X-ARES-LLM: the class of an encoder.

The contracts: audio_encoder_checker.py in xares 0.1.3 and in xares_llm 0.0.12.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.adapters.timeline import Timeline
from distill.data.fingerprint import weights_digest
from distill.students.saved import load_student
from distill.students.student import Student

_LLM_RATE = 16_000  # Hz, of X-ARES-LLM


def encoder_class(model: str, allow_import: str | None = None) -> type[nn.Module]:
    """Return a class of one student, whose constructor has no arguments.

    X-ARES stores embeddings by the name of the class. The name ends in a digest of the weights and "Encoder", so that
    another student is embedded anew.

    Args:
        model: Run folder, student folder or hub id.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: there is no such student.
    """
    student = load_student(model, allow_import)

    class StudentEncoder(nn.Module):
        """A student for X-ARES.

        Attributes:
            sampling_rate: Rate of the audio that it gets, in Hz.
            output_dim: Size of the embedding of a frame.
            hop_size_in_ms: Time from one frame to the next.
        """

        def __init__(self) -> None:
            super().__init__()
            self.timeline = Timeline(student, student.sample_rate)
            self.sampling_rate, self.output_dim = student.sample_rate, student.frame_dim
            self.hop_size_in_ms = 1000 * self.timeline.hop
            self.eval()

        def forward(self, audio: Tensor) -> Tensor:
            """Return frames (batch, time, output_dim) of zero-padded clips (batch, samples), without their lengths."""
            return self.timeline(audio)[0]

    return _named(StudentEncoder, student)


def llm_encoder_class(model: str, allow_import: str | None = None) -> type[nn.Module]:
    """Return a class of one student for X-ARES-LLM, as `encoder_class` does for X-ARES."""
    student = load_student(model, allow_import)

    class StudentEncoder(nn.Module):
        """A student for X-ARES-LLM, which gets audio of 16 kHz.

        Attributes:
            output_dim: Size of the embedding of a frame.
        """

        def __init__(self) -> None:
            super().__init__()
            self.timeline, self.output_dim = Timeline(student, _LLM_RATE), student.frame_dim
            self.eval()

        def forward(self, audio: Tensor, audio_attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            """Encode clips.

            Args:
                audio: Samples at 16 kHz. Shape (batch, samples), or (samples,) for one clip.
                audio_attention_mask: 1 for samples of the clip, 0 for padding, as `audio`. None: no padding.

            Returns:
                Frames (batch, time, output_dim), and 1 for frames inside the clip, int64 (batch, time); None without a
                mask.
            """
            if audio_attention_mask is None:
                return self.timeline(audio)[0], None
            lengths = torch.atleast_2d(audio_attention_mask).sum(1).long()
            frames, times = self.timeline(audio, lengths)
            return frames, (times < (lengths / _LLM_RATE).unsqueeze(1).to(times.device)).long()

    return _named(StudentEncoder, student)


def _named(kind: type[nn.Module], student: Student) -> type[nn.Module]:
    """Give a class a name by the weights of its student: the kits store embeddings by it, and it ends in "Encoder"."""
    kind.__name__ = kind.__qualname__ = f"{type(student).__name__}_{weights_digest(student)[:12]}_Encoder"
    return kind
