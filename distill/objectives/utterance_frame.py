"""EAT: predict the latents of a moving-average copy, for each patch and for the clip. CAT adds frozen teachers.

EAT: Chen et al. 2024 (arXiv 2401.03497). CAT: arXiv 2601.21612. Letters of shapes: B clips, K clones, M = B * K masks,
P patches, V visible patches, D width, E size of a teacher's clip embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.errors import UserError, require_one_of
from distill.data.files import as_settings
from distill.losses.regression import mean, mean_direction, median
from distill.objectives.objective import Objective
from distill.objectives.parts.health import Health
from distill.objectives.parts.masking import GridMask, rows_where, visible_patches
from distill.objectives.parts.moving_average import MovingAverage
from distill.objectives.parts.observed import Observed
from distill.objectives.parts.statistics import Standardise
from distill.objectives.parts.yardstick import BestConstant, explained, observed_of
from distill.students.patch_transformer.blocks import positions
from distill.students.patch_transformer.student import Encoded, PatchTransformer
from distill.students.student import Student
from distill.teachers.teacher import Teacher

DISTANCES = ("mse", "l1", "cosine", "kl")
DECODERS = ("convolution", "linear")
PROJECTED_SIDES = ("student", "teacher")
TEACHER_TRANSFORMS = ("raw", "standardised")


class UtteranceFrame(Objective):
    """Prediction of a moving-average copy's latents from the visible patches, a fifth of all patches.

    The losses are "frame" (hidden patches), "utterance" (the first token against the mean of the targets), and one
    with the name of each teacher: the first token, through a linear layer, imitates the teacher's clip embedding
    (CAT's representation regularisation). Any teacher can be used, live or from a store. The first two losses are
    means of sum(difference²) / sqrt(width).

    Args:
        student: A `patch_transformer`.
        teachers: Encoders to imitate, by name. Without a teacher, the objective is EAT's.
        clones: Masks of each clip in a step, at least 1. Plain patches are embedded once for all clones.
        mask: How patches are hidden.
        decay: Decay of the moving average in the first step, from 0 to 1.
        end_decay: Decay from step `decay_steps` on.
        decay_steps: Optimizer steps in which the decay changes linearly.
        decoder_layers: Number of convolutions of the decoder, which predicts the hidden patches.
        decoder_kernel: Kernel size of the decoder's convolutions, odd.
        decoder_groups: Groups of the decoder's convolutions; must divide the student's width.
        noise: Standard deviation of the noise that replaces hidden patches.
        distance: Distance to a teacher's embedding: "mse", "l1", "cosine" or "kl".
        layer: Block whose feed-forward output imitates the teacher, counted from 1. 0 means the encoder's output.
        projected: Side with the linear layer: the "student" or, in some of CAT's recipes, the "teacher".
        targets: "raw": the teachers' embeddings as they are; "standardised": with mean 0 and variance 1.
        weights: Weight of each loss, by name. Weights that are not given are 1.
        sum_over_clones: Whether "utterance" and the teachers' losses are sums over all clones of the batch, as in the
            published code. With 12 clips and 16 clones, their weight is then 192 times as large. Otherwise means.
        decoder: "convolution": convolutions over the grid of patches, then a linear layer; or "linear": the linear
            layer alone (FC). It does not read neighbours, so the position of a hidden patch is added to its noise.

    Raises:
        UserError: the student is not a `patch_transformer`, a number is out of range, or an option is unknown.
    """

    takes_teachers = True

    def __init__(
        self,
        student: Student,
        teachers: Mapping[str, Teacher],
        clones: int = 16,
        mask: GridMask | Mapping[str, Any] = GridMask(),
        decay: float = 0.9998,
        end_decay: float = 0.99999,
        decay_steps: int = 100_000,
        decoder_layers: int = 6,
        decoder_kernel: int = 3,
        decoder_groups: int = 16,
        noise: float = 0.01,
        distance: str = "mse",
        layer: int = 0,
        projected: str = "student",
        targets: str = "raw",
        weights: Mapping[str, float] | None = None,
        sum_over_clones: bool = False,
        decoder: str = "convolution",
    ) -> None:
        published = {"frame": 1.0, "utterance": 1.0, **dict.fromkeys(teachers, 1.0)}
        super().__init__(student, published, weights, teachers)
        if not isinstance(student, PatchTransformer):
            raise UserError("the objective `utterance_frame` trains --student patch_transformer")
        self.student: PatchTransformer = student
        width, depth = student.width, len(student.blocks)
        if clones < 1:
            raise UserError(f"--objective.clones {clones}: must be at least 1")
        if decoder_kernel % 2 == 0 or width % decoder_groups:
            raise UserError(
                f"--objective.decoder_kernel {decoder_kernel} must be odd, and --objective.decoder_groups "
                f"{decoder_groups} must divide the student's width, {width}"
            )
        if not 0 <= layer <= depth:
            raise UserError(f"--objective.layer {layer}: must be at least 0; the student has {depth} blocks")
        require_one_of("--objective.distance", distance, DISTANCES)
        require_one_of("--objective.decoder", decoder, DECODERS)
        require_one_of("--objective.projected", projected, PROJECTED_SIDES)
        require_one_of("--objective.targets", targets, TEACHER_TRANSFORMS)
        self.clones, self.mask = clones, as_settings(GridMask, mask)
        self.noise, self.layer, self.distance, self.sum_over_clones = noise, layer, distance, sum_over_clones
        self.slow = MovingAverage(student, decay, end_decay, decay_steps)
        self.adds_positions = decoder == "linear"
        self.decoder = Decoder(width, 0 if decoder == "linear" else decoder_layers, decoder_kernel, decoder_groups)
        self.projected = projected
        self.projectors = nn.ModuleDict(
            {
                name: nn.Linear(*((width, t.clip_dim) if projected == "student" else (t.clip_dim, width)))
                for name, t in teachers.items()
            }
        )
        standardised = teachers if targets == "standardised" else {}
        self.normalisers = nn.ModuleDict({name: Standardise(t.clip_dim) for name, t in standardised.items()})
        # A target that is projected is trained, so it has no fixed best constant.
        measured = teachers if projected == "student" else {}
        self.constants = nn.ModuleDict(
            {name: BestConstant(t.clip_dim, BEST_CONSTANTS[distance]) for name, t in measured.items()}
        )
        self.health = Health()

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return the losses of one batch, by name. Raise UserError if it is longer than the student's window."""
        self.student.require_one_window(batch)
        spectrogram, _ = self.student.spectrogram(batch)
        columns = spectrogram.shape[1] // self.student.patch
        hidden = self.mask.draw(len(batch) * self.clones, columns, self.student.rows)
        encoded, visible = self.encode_visible(spectrogram, hidden)
        target = self.target(spectrogram)
        filled = self.fill_hidden(encoded.tokens[:, 1:], hidden, visible)
        predicted = self.decoder(filled, columns, self.student.rows)
        losses = self.self_distillation(predicted, encoded.tokens[:, 0], target, hidden)
        measured: dict[str, dict[str, Observed]] = {}
        for name, teacher in self.teachers.items():
            embedding = self.teacher_target(name, teacher(batch).clip)
            losses[name] = self.regularisation(name, encoded, embedding)
            measured[name] = self.measure(name, losses[name], embedding)
        self.observed |= observed_of(measured)
        self.observed |= self.health(target, _patches(predicted, hidden), encoded.tokens[:, 0])
        self.observed["hidden_share"] = float(hidden.float().mean())
        return losses

    def encode_visible(self, spectrogram: Tensor, hidden: Tensor) -> VisibleTokens:
        """Encode the visible patches only.

        Args:
            spectrogram: Normalised spectra. Shape (B, time, bands).
            hidden: True where a patch is hidden. Shape (M, P), bool, on the CPU.
        """
        device = spectrogram.device
        visible = visible_patches(hidden).to(device, non_blocking=True)
        clip_index = torch.arange(len(spectrogram), device=device).repeat_interleave(len(hidden) // len(spectrogram))
        if self.student.patches.masks:
            # Convolutions mix neighbouring patches, so each mask needs its own embedding.
            grid = (~hidden).to(device, spectrogram.dtype, non_blocking=True).unflatten(1, (-1, self.student.rows))
            tokens = self.student.embed_patches(spectrogram[clip_index], grid)
            tokens = tokens[torch.arange(len(hidden), device=device).unsqueeze(1), visible]
        else:
            tokens = self.student.embed_patches(spectrogram)[clip_index.unsqueeze(1), visible]
        return VisibleTokens(self.student.contextual(tokens), visible)

    @torch.no_grad()
    def target(self, spectrogram: Tensor) -> Tensor:
        """Return the mean of the feed-forward outputs of the copy's blocks, normalised. Shape (B, P, D)."""
        network = self.slow.network
        branches = network.contextual(network.embed_patches(spectrogram)).branches
        # Each channel over the patches of a clip, then all channels of a patch.
        total = sum(F.instance_norm(output[:, 1:].float().transpose(1, 2)).transpose(1, 2) for output in branches)
        assert isinstance(total, Tensor)
        return F.layer_norm(total / len(branches), (total.shape[2],))

    def fill_hidden(self, tokens: Tensor, hidden: Tensor, visible: Tensor) -> Tensor:
        """Return all tokens (M, P, D): the visible ones (M, V, D) at their positions, noise at the hidden ones."""
        filled = torch.randn(*hidden.shape, tokens.shape[2], device=tokens.device, dtype=tokens.dtype) * self.noise
        if self.adds_positions:
            columns = hidden.shape[1] // self.student.rows
            filled = filled + positions(columns, self.student.rows, tokens.shape[2], tokens.device).to(filled.dtype)
        return filled.scatter(1, visible.unsqueeze(2).expand_as(tokens), tokens)

    def self_distillation(self, predicted: Tensor, first: Tensor, target: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """Return {"frame", "utterance"}.

        Args:
            predicted: Predictions for all patches. Shape (M, P, D).
            first: First token of each clone. Shape (M, D).
            target: Targets of all patches. Shape (B, P, D).
            hidden: True where a patch is hidden. Shape (M, P), bool, on the CPU.
        """
        scale = target.shape[2] ** -0.5
        patch_targets = target.repeat_interleave(len(hidden) // len(target), 0)
        frame = (_patches(predicted, hidden).float() - _patches(patch_targets, hidden)).square().sum(1) * scale
        clip_targets = target.mean(1).repeat_interleave(len(hidden) // len(target), 0)
        utterance = (first.float() - clip_targets).square().sum(1) * scale
        return {"frame": frame.mean(), "utterance": self._over_clones(utterance)}

    def teacher_target(self, name: str, embedding: Tensor) -> Tensor:
        """Return a teacher's clip embedding as the first token imitates it. Both have shape (B, E)."""
        return self.normalisers[name](embedding) if name in self.normalisers else embedding

    def regularisation(self, name: str, encoded: Encoded, embedding: Tensor) -> Tensor:
        """Return the distance of the first token from a teacher's target (B, E), a scalar."""
        first = encoded.tokens[:, 0] if self.layer == 0 else encoded.branches[self.layer - 1][:, 0]
        embedding = embedding.repeat_interleave(len(first) // len(embedding), 0)
        if self.projected == "student":
            first = self.projectors[name](first)
        else:
            embedding = self.projectors[name](embedding)
        return self._over_clones(distances(self.distance, first.float(), embedding.float()))

    @torch.no_grad()
    def measure(self, name: str, loss: Tensor, embedding: Tensor) -> dict[str, Observed]:
        """Return {"explained"}, the share of the best constant prediction's loss, or nothing if none is known.

        Args:
            name: Name of the teacher.
            loss: Loss of the teacher, a scalar.
            embedding: The teacher's target. Shape (B, E).
        """
        constant = self.constants[name](embedding) if name in self.constants else None
        if constant is None:
            return {}
        yardsticks = (
            distances(self.distance, prediction.float(), embedding.float()).repeat_interleave(self.clones)
            for prediction in (constant, torch.zeros_like(constant))
        )
        return {"explained": explained(loss, *map(self._over_clones, yardsticks))}

    def check_observed(self, name: str, step: int, value: float) -> None:
        """Raise UserError if representations have collapsed."""
        self.health.check(name, step, value)

    def after_step(self, step: int) -> None:
        """Update the moving average."""
        self.slow.follow(self.student, step)
        self.observed["moving_average"] = self.slow.decay(step)

    def _over_clones(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.sum_over_clones else losses.mean()


class VisibleTokens(NamedTuple):
    """Output of the student for the visible patches.

    Args:
        encoded: Tokens of the visible patches. Shape (M, 1 + V, D).
        visible: Indices of the visible patches. Shape (M, V), int64.
    """

    encoded: Encoded
    visible: Tensor


class Decoder(nn.Module):
    """Residual convolutions over the grid of patches, then a linear layer.

    Args:
        width: Width of a token.
        layers: Number of convolutions.
        kernel: Kernel size of each convolution, odd.
        groups: Groups of each convolution.
    """

    def __init__(self, width: int, layers: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups) for _ in range(layers)
        )
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, columns: int, rows: int) -> Tensor:
        """Return predictions for all patches, given tokens of all patches; both (M, P, D), P = columns * rows."""
        grid = tokens.transpose(1, 2).unflatten(2, (columns, rows))
        for block in self.blocks:
            normalised = F.layer_norm(block(grid).movedim(1, 3), (grid.shape[1],)).movedim(3, 1)
            grid = grid + F.gelu(normalised)
        return self.proj(grid.flatten(2).transpose(1, 2))


def _patches(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the tokens (M, P, D) at which a mask (M, P) on the CPU is True. Shape (patches, D)."""
    return tokens.flatten(0, 1)[rows_where(mask, tokens.device)]


def mean_log_softmax(targets: Tensor) -> Tensor:
    """Return the mean (dim,) of log-softmaxes (rows, dim), the constant with the lowest KL(constant || target)."""
    return targets.float().log_softmax(1).mean(0)


BEST_CONSTANTS = {"mse": mean, "l1": median, "cosine": mean_direction, "kl": mean_log_softmax}


def distances(kind: str, prediction: Tensor, embedding: Tensor) -> Tensor:
    """Return the distance of each row from its embedding, both (rows, E), scaled as in CAT's code. Shape (rows,)."""
    scale = embedding.shape[1] ** -0.5
    if kind == "mse":
        return (prediction - embedding).square().sum(1) * scale
    if kind == "l1":
        return (prediction - embedding).abs().sum(1) * scale
    if kind == "cosine":
        return (1 - F.cosine_similarity(prediction, embedding, dim=1, eps=1e-6)) * scale
    # CAT's code computes KL(prediction || embedding), the reverse of the usual order.
    student, teacher = prediction.log_softmax(1), embedding.log_softmax(1)
    return (student.exp() * (student - teacher)).sum(1)
