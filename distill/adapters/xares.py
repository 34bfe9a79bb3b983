"""X-ARES: the class of an encoder. The contract: xares/audio_encoder_checker.py of X-ARES 0.1.3."""

from __future__ import annotations

from torch import Tensor, nn

from distill.adapters.timeline import Timeline
from distill.data.fingerprint import weights_digest
from distill.students.saved import load_student


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
    name = f"{type(student).__name__}_{weights_digest(student)[:12]}_Encoder"

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

    StudentEncoder.__name__ = StudentEncoder.__qualname__ = name
    return StudentEncoder
