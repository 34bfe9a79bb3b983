"""MATPAC: predict what a slow copy makes of hidden patches, and which pseudo-class it puts them in.

Quelennec et al. 2025 (MATPAC), after Niizumi et al. 2023 (M2D) and Caron et al. 2021 (DINO); several hypotheses after
MATPAC++. Written from the papers' formulas; there is no official run to compare with. Letters of shapes: B clips, P
patches, V visible and H hidden patches, D width, C pseudo-classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.files import as_settings
from distill.objectives.objective import Objective
from distill.objectives.parts.health import Health
from distill.objectives.parts.masking import GridMask
from distill.objectives.parts.moving_average import MovingAverage
from distill.objectives.utterance_frame import visible_patches
from distill.students.patch_transformer.blocks import EPSILON, PreNormBlock, positions
from distill.students.patch_transformer.patches import PATCH
from distill.students.patch_transformer.student import PatchTransformer
from distill.students.student import Student


class LatentPrediction(Objective):
    """The student sees some patches; a predictor says what the slow copy, which sees the others, makes of those.

    The losses are "prediction" (2 - 2 cosine over hidden patches) and "classification" (cross entropy between the
    pseudo-classes of the prediction and of the slow copy's latents, centred and sharpened).

    Args:
        student: A `patch_transformer`.
        mask: How patches are hidden.
        predictor_layers: Blocks of the predictor.
        predictor_heads: Of their attention.
        classes: Pseudo-classes.
        head_hidden: Width of the head that tells them.
        student_temperature: Of the student's pseudo-classes.
        teacher_temperature: Of the slow copy's; lower is sharper.
        centre_decay: Share of the old centre that is kept in a step.
        hypotheses: Predictions of each patch, of which the nearest learns most (multiple-choice learning).
        others: Share of the loss that the other hypotheses get between them.
        decay: Share of the slow copies that is kept in a step, at first.
        end_decay: The same from `decay_steps` on.
        decay_steps: Steps in which it changes.
        weights: Of the losses, by name; a half each where not named.

    Raises:
        UserError: another student, or numbers that make no sense.
    """

    centre: Tensor

    def __init__(
        self,
        student: Student,
        mask: GridMask | Mapping[str, Any] = GridMask("random", share=0.7),
        predictor_layers: int = 4,
        predictor_heads: int = 8,
        classes: int = 2048,
        head_hidden: int = 2048,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_decay: float = 0.9,
        hypotheses: int = 1,
        others: float = 0.05,
        decay: float = 0.99995,
        end_decay: float = 0.99999,
        decay_steps: int = 100_000,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(student, {"prediction": 0.5, "classification": 0.5}, weights)
        if not isinstance(student, PatchTransformer):
            raise UserError("the objective `latent_prediction` trains --student patch_transformer")
        if student.patches.masks:
            raise UserError("the objective `latent_prediction` wants plain patches: leave --student.resolutions out")
        if min(student_temperature, teacher_temperature) <= 0 or classes < 2 or hypotheses < 1:
            raise UserError("latent_prediction: temperatures above 0, at least 2 classes and 1 hypothesis are wanted")
        self.student: PatchTransformer = student
        width = student.width
        self.mask = as_settings(GridMask, mask)
        self.temperatures = (student_temperature, teacher_temperature)
        self.centre_decay, self.others = centre_decay, others if hypotheses > 1 else 0.0
        self.predictor = Predictor(width, predictor_layers, predictor_heads, student.rows, hypotheses)
        self.head = nn.Sequential(
            nn.Linear(width, head_hidden), nn.GELU(), nn.Linear(head_hidden, head_hidden), nn.GELU(),
            nn.Linear(head_hidden, classes),
        )  # fmt: skip
        self.slow = MovingAverage(student, decay, end_decay, decay_steps)
        self.slow_head = MovingAverage(self.head, decay, end_decay, decay_steps)
        self.register_buffer("centre", torch.zeros(classes))
        self.health = Health()

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """{"prediction", "classification"} of one batch. Raises UserError where representations have collapsed."""
        spectrogram, _ = self.student.spectrogram(batch)
        columns = spectrogram.shape[1] // PATCH
        hidden = self.mask.draw(len(batch), columns, self.student.rows, spectrogram.device)
        seen = self.encode(self.student, spectrogram, visible_patches(hidden))
        predicted = self.predictor(seen[:, 1:], hidden, columns)
        with torch.no_grad():
            target = self.encode(self.slow.network, spectrogram, visible_patches(~hidden))[:, 1:]
            logits = self.slow_head.network(target)
        losses = self.score(predicted, target, logits)
        if self.training:
            self.centre.lerp_(logits.float().mean((0, 1)), 1 - self.centre_decay)
        shares = ((logits.float() - self.centre) / self.temperatures[1]).softmax(2).mean((0, 1))
        self.observed |= self.health(target, predicted, seen[:, 1:].mean(1))
        self.observed["pseudo_classes"] = float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))
        return losses

    def encode(self, network: PatchTransformer, spectrogram: Tensor, patches: Tensor) -> Tensor:
        """Some patches (B, N) of each clip through a network: (B, 1 + N, D)."""
        tokens = network.embed_patches(spectrogram)
        return network.contextual(tokens.gather(1, patches.unsqueeze(2).expand(-1, -1, tokens.shape[2]))).tokens

    def score(self, predicted: Tensor, target: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """The losses.

        Args:
            predicted: Hypotheses for each hidden patch. Shape (B, hypotheses, H, D).
            target: What the slow copy makes of it. Shape (B, H, D).
            logits: The slow copy's pseudo-classes. Shape (B, H, C).
        """
        mine, theirs = self.temperatures
        distance = 2 - 2 * F.cosine_similarity(predicted.float(), target.float().unsqueeze(1), dim=3)
        wanted = ((logits.float() - self.centre) / theirs).softmax(2).unsqueeze(1)
        crossed = -(wanted * (self.head(predicted).float() / mine).log_softmax(3)).sum(3)
        share = self._shares(distance.detach())
        return {"prediction": (share * distance).sum(1).mean(), "classification": (share * crossed).sum(1).mean()}

    def _shares(self, distance: Tensor) -> Tensor:
        """How much each hypothesis learns: the nearest most, the others a little, or they would never move."""
        count = distance.shape[1]
        nearest = F.one_hot(distance.argmin(1), count).movedim(2, 1).to(distance.dtype)
        return nearest * (1 - self.others) + (1 - nearest) * (self.others / max(1, count - 1))

    def after_step(self, step: int) -> None:
        """The slow copies follow."""
        self.slow.follow(self.student, step)
        self.slow_head.follow(self.head, step)
        self.observed["moving_average"] = self.slow.decay(step)


class Predictor(nn.Module):
    """Fills hidden places with a learned token and asks a transformer what was there.

    Args:
        width: Of a token.
        layers: Blocks.
        heads: Of attention.
        rows: Of patches.
        hypotheses: Answers for each hidden patch.
    """

    def __init__(self, width: int, layers: int, heads: int, rows: int, hypotheses: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"--objective.predictor_heads {heads} cannot share the student's width, {width}")
        self.rows = rows
        self.blank = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(PreNormBlock(width, heads, 4.0, 0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.answers = nn.ModuleList(nn.Linear(width, width) for _ in range(hypotheses))

    def forward(self, tokens: Tensor, hidden: Tensor, columns: int) -> Tensor:
        """Visible tokens (B, V, D) and the mask (B, P) -> answers for hidden patches (B, hypotheses, H, D)."""
        filled = self.blank.to(tokens.dtype).expand(*hidden.shape, -1)
        places = visible_patches(hidden).unsqueeze(2).expand_as(tokens)
        x = filled.scatter(1, places, tokens) + positions(columns, self.rows, tokens.shape[2], tokens.device)
        for block in self.blocks:
            x, _ = block(x, None)
        x = self.norm(x)
        asked = visible_patches(~hidden).unsqueeze(2).expand(-1, -1, x.shape[2])
        return torch.stack([answer(x.gather(1, asked)) for answer in self.answers], dim=1)
