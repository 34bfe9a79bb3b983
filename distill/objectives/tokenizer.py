"""HEAR's first stage: a vocabulary of sound, from reconstruction and from what teachers hear (section 3.1)."""

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
from distill.objectives.parts.quantizer import CodeUse, GumbelQuantizer
from distill.students.hear.frontend import BANDS
from distill.students.hear.students import TOKEN_HOP, HearTokenizer
from distill.students.hear.transformer import Block
from distill.students.student import Student
from distill.teachers.teacher import Teacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECONSTRUCTION, DISTILLATION, DIVERSITY = 0.3, 0.7, 0.1  # the published weights


class TokenizerDistillation(Objective):
    """Tokens from which a decoder rebuilds the mel spectrogram and the frames of the teachers (HEAR, stage 1).

    Any teacher with frames will do, aligned by time; SSAST with `alignment=index` is the published stage. The losses
    are "reconstruction" (0.3), one named after each teacher (0.7, shared among them) and "diversity" (0.1).

    Args:
        student: A `hear_tokenizer`.
        teachers: Encoders to imitate by name; none trains by reconstruction alone.
        alignment: How frames are paired; see `distill.objectives.parts.alignment.Alignment`.
        loss: Between frames: a registered name, or {class_path: NAME, init_args: {...}} for one with options.
        code_dim: Numbers in a code.
        hidden: Width of the decoder.
        intermediate: Width of its feed-forward parts.
        heads: Of its attention.
        layers: Number of its blocks.
        dropout: In its blocks.
        weights: Of the losses, by name.

    Raises:
        UserError: the student is no `hear_tokenizer`, a teacher has no frames, or the loss needs clusters of clips.
    """

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
            raise UserError(f"--objective.loss {loss}: frames have no clusters; the objective `embedding` has them")
        self.quantizer = GumbelQuantizer(student.codes, code_dim, hidden)
        self.use = CodeUse(student.codes)
        reach = student.acoustic.window
        self.decoder = nn.ModuleList(Block(hidden, intermediate, heads, reach, dropout) for _ in range(layers))
        self.shared = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.to_mel = nn.Linear(hidden, 2 * BANDS)
        self.to_teacher = nn.ModuleDict({name: nn.Linear(hidden, t.frame_dim) for name, t in teachers.items()})

    def forward(self, batch: AudioBatch, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Losses of one batch; `noise` is the quantizer's (batch, time, codes), drawn where it is not given."""
        tokens = self.student.tokens(batch)
        time = tokens.features.shape[1]
        if time > self.student.acoustic.window:
            most = self.student.acoustic.window * TOKEN_HOP
            raise UserError(f"clips of {time * TOKEN_HOP:.1f} s, and a window has {most:g}: --crop.seconds {most:g}")
        inside = frame_mask(tokens.lengths, time)
        quantized = self.quantizer(self.student.logits(tokens), inside, noise)
        self.observed = self.use(quantized.codes[inside])
        decoded = self._decode(quantized.vectors, inside)
        losses = {"reconstruction": self._reconstruction(decoded, tokens.mel, inside)}
        heard = self.student.embeddings(decoded, tokens.lengths)
        for name, teacher in self.teachers.items():
            pairs = self.alignments[name](heard, teacher(batch))
            prediction = self.to_teacher[name](pairs.student[pairs.mask])
            losses[name] = self.loss(prediction, pairs.teacher[pairs.mask]) if len(prediction) else decoded.sum() * 0
        return losses | {"diversity": quantized.diversity}

    def after_step(self, step: int) -> None:
        """Cool the quantizer."""
        self.quantizer.cool(step)

    def reconstruct(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Normalised mel of a batch and what its tokens make of it, both (batch, frames, 128), for a picture."""
        tokens = self.student.tokens(batch)
        inside = frame_mask(tokens.lengths, tokens.features.shape[1])
        decoded = self._decode(self.quantizer(self.student.logits(tokens), inside).vectors, inside)
        rebuilt = self.to_mel(decoded).unflatten(2, (2, BANDS)).flatten(1, 2)
        return tokens.mel.transpose(1, 2)[:, : rebuilt.shape[1]], rebuilt

    def pictures(self, batch: AudioBatch) -> dict[str, Figure]:
        """How often each code is chosen, and mel spectrograms beside what their tokens make of them."""
        from distill.objectives.parts.figures import codes_figure, spectrograms_figure

        use = self.use(torch.zeros(0, dtype=torch.int64, device=self.use.counts.device))
        title = f"{use['used_codes']:.0f} of {self.student.codes} codes in use, perplexity {use['perplexity']:.0f}"
        original, rebuilt = (mel.float().cpu().numpy() for mel in self.reconstruct(batch))
        return {
            "codes": codes_figure(self.use.counts.double().cpu().numpy(), title),
            "reconstruction": spectrograms_figure(original, rebuilt, hop=TOKEN_HOP / 2),
        }

    def _decode(self, vectors: Tensor, inside: Tensor) -> Tensor:
        """Vectors of the chosen codes (batch, time, hidden) in their context, same shape out."""
        for block in self.decoder:
            vectors = block(vectors, None if bool(inside.all()) else ~inside)
        return self.shared(vectors)

    def _reconstruction(self, decoded: Tensor, mel: Tensor, inside: Tensor) -> Tensor:
        """Mean squared error of the two mel frames of each valid token."""
        rebuilt = self.to_mel(decoded).unflatten(2, (2, BANDS))
        original = mel.transpose(1, 2)[:, : 2 * decoded.shape[1]].unflatten(1, (-1, 2))
        errors = (rebuilt - original).square().mean((2, 3))
        return (errors * inside).sum() / inside.sum().clamp(min=1)
