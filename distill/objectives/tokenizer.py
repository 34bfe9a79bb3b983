"""HEAR's first stage: codes learned by reconstruction and by distillation from teachers (section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.losses import build_loss
from distill.objectives.objective import Objective
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.masking import rows_where
from distill.objectives.parts.observed import Observed
from distill.objectives.parts.quantizer import CodeUse, GumbelQuantizer
from distill.objectives.parts.statistics import sample_stored
from distill.objectives.parts.yardstick import Yardstick, observed_of
from distill.students.hear.frontend import BANDS
from distill.students.hear.students import TOKEN_HOP, HearTokenizer
from distill.students.hear.transformer import RelativeBlock
from distill.students.student import Student
from distill.teachers.teacher import Teacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECONSTRUCTION, DISTILLATION, DIVERSITY = 0.3, 0.7, 0.1  # the published weights


class TokenizerDistillation(Objective):
    """Codes from which a decoder reconstructs the mel spectrogram and the teachers' frames (HEAR, stage 1).

    Any teacher with frames can be used; frames are paired by time. The published stage is SSAST with
    `alignment=index`. The losses are "reconstruction" (weight 0.3), one with the name of each teacher (0.7 divided
    equally) and "diversity" (0.1).

    Args:
        student: A `hear_tokenizer`.
        teachers: Encoders to imitate, by name. Without a teacher, only reconstruction and diversity are trained.
        alignment: How frames are paired; see `distill.objectives.parts.alignment.Alignment`.
        loss: Loss between frames: a registered name, or {class_path: NAME, init_args: {...}} for a loss with options.
        code_dim: Size of a code vector.
        hidden: Width of the decoder.
        intermediate: Width of the decoder's feed-forward layers.
        heads: Attention heads of the decoder.
        layers: Number of blocks of the decoder.
        dropout: Dropout rate of the decoder; 0 disables it.
        weights: Weight of each loss, by name. Weights that are not given are the published ones.

    Raises:
        UserError: the student is not a `hear_tokenizer`, a teacher has no frames, the loss needs clusters of
            clips, or it has one queue for several teachers.
    """

    takes_teachers = True

    def __init__(
        self,
        student: Student,
        teachers: Mapping[str, Teacher],
        alignment: str = "auto",
        loss: str | dict[str, Any] = "cosine",
        code_dim: int = 32,
        hidden: int = 128,
        intermediate: int = 512,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        shares = {name: DISTILLATION / len(teachers) for name in teachers}
        published = {"reconstruction": RECONSTRUCTION, **shares, "diversity": DIVERSITY}
        super().__init__(student, published, weights, teachers)
        if not isinstance(student, HearTokenizer):
            raise UserError("the objective `tokenizer` trains --student hear_tokenizer")
        self.student: HearTokenizer = student
        self.reads_frames = bool(teachers)
        self.alignments = {name: Alignment(TOKEN_HOP, t.frame_hop, alignment) for name, t in teachers.items()}
        self.loss = build_loss(loss)
        if getattr(self.loss, "needs_clusters", False):
            raise UserError(f"--objective.loss {loss}: frames have no clusters; use the objective `embedding`")
        if hasattr(self.loss, "queue") and len(teachers) > 1:
            raise UserError(f"--objective.loss {loss}: its queue has the frames of one teacher; give one --teacher")
        self.quantizer = GumbelQuantizer(student.codes, code_dim, hidden)
        self.use = CodeUse(student.codes)
        window = student.acoustic.window
        self.decoder = nn.ModuleList(RelativeBlock(hidden, intermediate, heads, window, dropout) for _ in range(layers))
        self.shared = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.to_mel = nn.Linear(hidden, 2 * BANDS)
        self.to_teacher = nn.ModuleDict({name: nn.Linear(hidden, t.frame_dim) for name, t in teachers.items()})
        yardsticks = {name: Yardstick(self.loss, teacher.frame_dim) for name, teacher in teachers.items()}
        for name, yardstick in yardsticks.items():
            stored = sample_stored(teachers[name], frames=True)
            if stored is not None:
                yardstick.fit(stored)
        self.yardsticks = nn.ModuleDict(yardsticks)

    def forward(self, batch: AudioBatch, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Return the losses of one batch, by name.

        Args:
            batch: The clips, each at most one window long.
            noise: Gumbel noise of the quantizer. Shape (batch, time, codes). None: drawn in training, else none.

        Raises:
            UserError: the clips are longer than the student's window.
        """
        tokens = self.student.tokens(batch)
        time = tokens.features.shape[1]
        if time > self.student.acoustic.window:
            max_seconds = self.student.acoustic.window * TOKEN_HOP
            raise UserError(
                f"clips of {time * TOKEN_HOP:.1f} s are longer than a window, {max_seconds:g} s: use --crop.seconds "
                f"{max_seconds:g}"
            )
        valid = frame_mask(tokens.host_lengths, time)  # on the CPU
        quantized = self.quantizer(self.student.logits(tokens), valid, noise)
        self.observed = self.use(quantized.codes.flatten()[rows_where(valid, quantized.codes.device)])
        decoded = self._decode(quantized.vectors, valid)
        losses = {"reconstruction": self._reconstruction(decoded, tokens.mel, frame_mask(tokens.lengths, time))}
        embeddings = self.student.embeddings(decoded, tokens.lengths)
        measured: dict[str, dict[str, Observed]] = {}
        for name, teacher in self.teachers.items():
            pairs = self.alignments[name](embeddings, teacher(batch))
            rows = rows_where(pairs.mask, pairs.mask.device)  # the only wait for the device
            prediction = self.to_teacher[name](pairs.student.flatten(0, 1)[rows])
            target = pairs.teacher.flatten(0, 1)[rows]
            losses[name] = self.loss(prediction, target) if len(prediction) else decoded.sum() * 0
            if len(prediction):
                measured[name] = self.yardsticks[name](self.loss, losses[name], prediction, target)
        self.observed |= observed_of(measured)
        return losses | {"diversity": quantized.diversity}

    def after_step(self, step: int) -> None:
        """Lower the temperature of the quantizer."""
        self.quantizer.cool(step)

    def reconstruct(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Return the normalised mel spectrogram and its reconstruction, both (batch, frames, 128)."""
        tokens = self.student.tokens(batch)
        valid = frame_mask(tokens.host_lengths, tokens.features.shape[1])
        decoded = self._decode(self.quantizer(self.student.logits(tokens), valid).vectors, valid)
        reconstruction = self.to_mel(decoded).unflatten(2, (2, BANDS)).flatten(1, 2)
        return tokens.mel.transpose(1, 2)[:, : reconstruction.shape[1]], reconstruction

    def pictures(self, batch: AudioBatch) -> dict[str, Figure]:
        """Return figures of the use of codes, and of mel spectrograms with their reconstructions."""
        from distill.objectives.parts.figures import codes_figure, spectrograms_figure

        use = self.use(torch.zeros(0, dtype=torch.int64, device=self.use.counts.device))
        used, perplexity = float(use["used_codes"]), float(use["perplexity"])
        title = f"{used:.0f} of {self.student.codes} codes in use, perplexity {perplexity:.0f}"
        original, reconstruction = (mel.float().cpu().numpy() for mel in self.reconstruct(batch))
        return {
            "codes": codes_figure(self.use.counts.double().cpu().numpy(), title),
            "reconstruction": spectrograms_figure(original, reconstruction, hop=TOKEN_HOP / 2),
        }

    def _decode(self, vectors: Tensor, valid: Tensor) -> Tensor:
        """Return the decoder's output for the vectors of the chosen codes. Both have shape (batch, time, hidden)."""
        padding = None if bool(valid.all()) else (~valid).to(vectors.device, non_blocking=True)
        for block in self.decoder:
            vectors = block(vectors, padding)
        return self.shared(vectors)

    def _reconstruction(self, decoded: Tensor, mel: Tensor, valid: Tensor) -> Tensor:
        """Return the mean squared error over the two mel frames of each valid token."""
        reconstruction = self.to_mel(decoded).unflatten(2, (2, BANDS))
        original = mel.transpose(1, 2)[:, : 2 * decoded.shape[1]].unflatten(1, (-1, 2))
        errors = (reconstruction - original).square().mean((2, 3))
        return (errors * valid).sum() / valid.sum().clamp(min=1)
