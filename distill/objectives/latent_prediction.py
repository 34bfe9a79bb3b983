"""MATPAC: predict the latents and the pseudo-classes that a moving-average copy gives to hidden patches.

Quelennec et al. 2025 (MATPAC), after Niizumi et al. 2023 (M2D) and Caron et al. 2021 (DINO). Several hypotheses follow
MATPAC++. The code follows the papers' formulas; there is no official training run to compare with. Letters of shapes:
B clips, P patches, V visible and H hidden patches, D width, C pseudo-classes.
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
from distill.objectives.parts.masking import GridMask, visible_patches
from distill.objectives.parts.moving_average import MovingAverage
from distill.objectives.parts.observed import observe
from distill.students.patch_transformer.blocks import EPSILON, PreNormBlock, positions
from distill.students.patch_transformer.student import PatchTransformer
from distill.students.student import Student


class LatentPrediction(Objective):
    """Prediction of hidden patches: the student encodes visible patches, a moving-average copy the hidden ones.

    A predictor maps the student's latents to the copy's latents. The loss "prediction" is 2 - 2 cosine over hidden
    patches. The loss "classification" is the cross entropy between the pseudo-classes of the prediction and those of
    the copy's latents, which are centred and sharpened.

    Args:
        student: A `patch_transformer` with plain patches.
        mask: How patches are hidden.
        predictor_layers: Number of blocks of the predictor.
        predictor_heads: Attention heads of each block of the predictor.
        classes: Number of pseudo-classes.
        head_hidden: Hidden width of the head that computes the pseudo-classes.
        student_temperature: Temperature of the student's pseudo-classes, above 0.
        teacher_temperature: Temperature of the copy's pseudo-classes, above 0; lower is sharper.
        centre_decay: Share of the old centre that is kept in a step, from 0 to 1.
        hypotheses: Predictions for each patch. The nearest gets most of the loss (multiple-choice learning).
        others: Share of the loss that the other hypotheses get together.
        decay: Decay of the moving averages in the first step, from 0 to 1.
        end_decay: Decay from step `decay_steps` on.
        decay_steps: Optimizer steps in which the decay changes linearly.
        weights: Weight of each loss, by name. Weights that are not given are 0.5.

    Raises:
        UserError: the student is not a `patch_transformer` with plain patches, or a number is out of range.
    """

    centre: Tensor
    shared_statistics = ("centre",)

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
            raise UserError(
                "the objective `latent_prediction` needs plain patches: give at most one of --student.resolutions"
            )
        if min(student_temperature, teacher_temperature) <= 0 or classes < 2 or hypotheses < 1:
            raise UserError(
                "latent_prediction: temperatures must be above 0, classes at least 2 and hypotheses at least 1"
            )
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
        """Return {"prediction", "classification"} of one batch. Raise UserError if it is longer than a window."""
        self.student.require_one_window(batch)
        spectrogram, _ = self.student.spectrogram(batch)
        columns = spectrogram.shape[1] // self.student.patch
        hidden = self.mask.draw(len(batch), columns, self.student.rows)
        encoded = self.encode(self.student, spectrogram, visible_patches(hidden))
        predicted = self.predictor(encoded[:, 1:], hidden, columns)
        with torch.no_grad():
            target = self.encode(self.slow.network, spectrogram, visible_patches(~hidden))[:, 1:]
            logits = self.slow_head.network(target)
        losses = self.score(predicted, target, logits)
        if self.training:
            self.centre.lerp_(logits.float().mean((0, 1)), 1 - self.centre_decay)
        class_shares = ((logits.float() - self.centre) / self.temperatures[1]).softmax(2).mean((0, 1))
        self.observed |= self.health(target, predicted, encoded[:, 1:].mean(1))
        # The exponential of the entropy: the number of equally frequent classes with the same entropy.
        pseudo_classes = torch.exp(-(class_shares * class_shares.clamp(min=1e-12).log()).sum())
        self.observed["pseudo_classes"] = observe(float, pseudo_classes)
        return losses

    def encode(self, network: PatchTransformer, spectrogram: Tensor, patches: Tensor) -> Tensor:
        """Encode the patches with these indices (B, N) in each clip. Shape (B, 1 + N, D)."""
        tokens = network.embed_patches(spectrogram)
        patches = patches.to(tokens.device, non_blocking=True)
        return network.contextual(tokens.gather(1, patches.unsqueeze(2).expand(-1, -1, tokens.shape[2]))).tokens

    def score(self, predicted: Tensor, target: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return both losses.

        Args:
            predicted: Hypotheses for each hidden patch. Shape (B, hypotheses, H, D).
            target: Latents of the moving-average copy. Shape (B, H, D).
            logits: Pseudo-class scores of the moving-average copy. Shape (B, H, C).
        """
        student_temperature, teacher_temperature = self.temperatures
        distance = 2 - 2 * F.cosine_similarity(predicted.float(), target.float().unsqueeze(1), dim=3)
        classes = ((logits.float() - self.centre) / teacher_temperature).softmax(2).unsqueeze(1)
        cross_entropy = -(classes * (self.head(predicted).float() / student_temperature).log_softmax(3)).sum(3)
        weight = self._hypothesis_weights(distance.detach())
        return {
            "prediction": (weight * distance).sum(1).mean(),
            "classification": (weight * cross_entropy).sum(1).mean(),
        }

    def _hypothesis_weights(self, distance: Tensor) -> Tensor:
        """Return the weight of each hypothesis (B, hypotheses, H).

        The nearest gets most. The others get a small weight, as without a gradient they would never change.
        """
        count = distance.shape[1]
        nearest = F.one_hot(distance.argmin(1), count).movedim(2, 1).to(distance.dtype)
        return nearest * (1 - self.others) + (1 - nearest) * (self.others / max(1, count - 1))

    def check_observed(self, name: str, step: int, value: float) -> None:
        """Raise UserError if representations have collapsed."""
        self.health.check(name, step, value)

    def after_step(self, step: int) -> None:
        """Update both moving averages."""
        self.slow.follow(self.student, step)
        self.slow_head.follow(self.head, step)
        self.observed["moving_average"] = self.slow.decay(step)


class Predictor(nn.Module):
    """Transformer that predicts the latents of hidden patches, which it gets as a learned token.

    Args:
        width: Width of a token.
        layers: Number of blocks.
        heads: Attention heads of each block.
        rows: Rows of patches in a spectrogram.
        hypotheses: Predictions for each hidden patch.

    Raises:
        UserError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, layers: int, heads: int, rows: int, hypotheses: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"--objective.predictor_heads {heads}: must divide the student's width, {width}")
        self.rows = rows
        self.blank = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(PreNormBlock(width, heads, 4.0, 0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.answers = nn.ModuleList(nn.Linear(width, width) for _ in range(hypotheses))

    def forward(self, tokens: Tensor, hidden: Tensor, columns: int) -> Tensor:
        """Return predictions for the hidden patches. Shape (B, hypotheses, H, D).

        Args:
            tokens: Latents of the visible patches. Shape (B, V, D).
            hidden: True where a patch is hidden. Shape (B, P), bool, on the CPU.
            columns: Columns of patches in a spectrogram.
        """
        visible, behind = (visible_patches(mask).to(tokens.device, non_blocking=True) for mask in (hidden, ~hidden))
        filled = self.blank.to(tokens.dtype).expand(*hidden.shape, -1)
        visible_index = visible.unsqueeze(2).expand_as(tokens)
        x = filled.scatter(1, visible_index, tokens) + positions(columns, self.rows, tokens.shape[2], tokens.device)
        for block in self.blocks:
            x, _ = block(x, None)
        x = self.norm(x)
        hidden_index = behind.unsqueeze(2).expand(-1, -1, x.shape[2])
        return torch.stack([answer(x.gather(1, hidden_index)) for answer in self.answers], dim=1)
