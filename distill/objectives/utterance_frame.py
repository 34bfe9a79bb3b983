"""EAT: predict one's own slow copy, patch by patch and as a whole; with frozen teachers beside it, CAT.

Chen et al. 2024 (arXiv 2401.03497), and CAT (arXiv 2601.21612). Letters of shapes: B clips, K clones, M = B * K masks,
P patches, V visible patches, D width.
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
from distill.objectives.objective import Objective
from distill.objectives.parts.health import Health
from distill.objectives.parts.masking import GridMask
from distill.objectives.parts.moving_average import MovingAverage
from distill.objectives.parts.statistics import Standardise
from distill.students.patch_transformer.student import Encoded, PatchTransformer
from distill.students.student import Student
from distill.teachers.teacher import Teacher

DISTANCES = ("mse", "l1", "cosine", "kl")
PROJECTED = ("student", "teacher")
TARGETS = ("raw", "standardised")


class UtteranceFrame(Objective):
    """The student sees a fifth of a clip's patches and predicts what its slow copy makes of all of them.

    The losses are "frame" (hidden patches), "utterance" (the first token against the mean of the targets), and one
    named after each teacher: the first token, through a linear layer, imitates the teacher's clip embedding (CAT's
    representation regularisation; any teacher, live or from a store, by `distance`). The first two are means of
    sum(difference²) / sqrt(width).

    Args:
        student: A `patch_transformer`.
        teachers: Encoders to agree with, by name; none is EAT.
        clones: Masks of each clip in a step; patches are embedded once for all where no convolution sees neighbours.
        mask: How patches are hidden.
        decay: Share of the slow copy that is kept in a step, at first.
        end_decay: The same from `decay_steps` on.
        decay_steps: Steps in which it changes.
        decoder_layers: Convolutions that predict the hidden patches.
        decoder_kernel: Their side, odd.
        decoder_groups: Of their channels.
        noise: Deviation of what stands in the place of hidden patches.
        distance: From a teacher's embedding: "mse", "l1", "cosine" or "kl".
        layer: Block whose feed-forward output imitates the teacher, counted from 1; 0 is the encoder's output.
        projected: What goes through the linear layer: the "student" or, in some of CAT's recipes, the "teacher".
        targets: The teachers' embeddings as they are ("raw") or to mean 0 and variance 1 ("standardised").
        weights: Of the losses, by name; 1 where not named.
        sum_over_clones: Sum "utterance" and the teachers' losses over all clones of the batch, as the published code
            does: at 12 clips and 16 clones it weighs them 192 times.

    Raises:
        UserError: another student, no clones, an even kernel, or options that are not known.
    """

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
    ) -> None:
        published = {"frame": 1.0, "utterance": 1.0, **dict.fromkeys(teachers, 1.0)}
        super().__init__(student, published, weights, teachers)
        if not isinstance(student, PatchTransformer):
            raise UserError("the objective `utterance_frame` trains --student patch_transformer")
        self.student: PatchTransformer = student
        width, depth = student.width, len(student.blocks)
        if clones < 1:
            raise UserError(f"--objective.clones {clones}: at least 1 is wanted")
        if decoder_kernel % 2 == 0 or width % decoder_groups:
            raise UserError(
                f"--objective.decoder_kernel {decoder_kernel} must be odd, and .decoder_groups {decoder_groups} "
                f"divide the student's width, {width}"
            )
        if not 0 <= layer <= depth:
            raise UserError(f"--objective.layer {layer}: the student has {depth} blocks")
        require_one_of("--objective.distance", distance, DISTANCES)
        require_one_of("--objective.projected", projected, PROJECTED)
        require_one_of("--objective.targets", targets, TARGETS)
        self.clones, self.mask = clones, as_settings(GridMask, mask)
        self.noise, self.layer, self.distance, self.sum_over_clones = noise, layer, distance, sum_over_clones
        self.slow = MovingAverage(student, decay, end_decay, decay_steps)
        self.decoder = Decoder(width, decoder_layers, decoder_kernel, decoder_groups)
        self.projected = projected
        self.projectors = nn.ModuleDict(
            {
                name: nn.Linear(*((width, t.clip_dim) if projected == "student" else (t.clip_dim, width)))
                for name, t in teachers.items()
            }
        )
        standardised = teachers if targets == "standardised" else {}
        self.normalisers = nn.ModuleDict({name: Standardise(t.clip_dim) for name, t in standardised.items()})
        self.health = Health()

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """The named losses of one batch. Raises UserError where representations have collapsed."""
        spectrogram, _ = self.student.spectrogram(batch)
        columns = spectrogram.shape[1] // 16
        hidden = self.mask.draw(len(batch) * self.clones, columns, self.student.rows, spectrogram.device)
        seen = self.see(spectrogram, hidden)
        target = self.target(spectrogram)
        predicted = self.decoder(
            self.fill(seen.encoded.tokens[:, 1:], hidden, seen.visible), columns, self.student.rows
        )
        losses = self.self_distillation(predicted, seen.encoded.tokens[:, 0], target, hidden)
        for name, teacher in self.teachers.items():
            losses[name] = self.regularisation(name, seen.encoded, teacher(batch).clip)
        self.observed |= self.health(target, predicted[hidden], seen.encoded.tokens[:, 0])
        self.observed["hidden_share"] = float(hidden.float().mean())
        return losses

    def see(self, spectrogram: Tensor, hidden: Tensor) -> Seen:
        """What the student makes of the visible patches of each mask (M, P); nothing else is computed."""
        visible = visible_patches(hidden)
        clip = torch.arange(len(spectrogram), device=hidden.device).repeat_interleave(len(hidden) // len(spectrogram))
        if self.student.patches.masks:
            shown = (~hidden).to(spectrogram.dtype).unflatten(1, (-1, self.student.rows))
            tokens = self.student.embed_patches(spectrogram[clip], shown)
            tokens = tokens[torch.arange(len(hidden), device=hidden.device).unsqueeze(1), visible]
        else:
            tokens = self.student.embed_patches(spectrogram)[clip.unsqueeze(1), visible]
        return Seen(self.student.contextual(tokens), visible)

    @torch.no_grad()
    def target(self, spectrogram: Tensor) -> Tensor:
        """Mean over the slow copy's blocks of what their feed-forward parts made, normalised. Shape (B, P, D)."""
        slow = self.slow.network
        branches = slow.contextual(slow.embed_patches(spectrogram)).branches
        # Each channel over the patches of a clip, then all channels of a patch.
        total = sum(F.instance_norm(made[:, 1:].float().transpose(1, 2)).transpose(1, 2) for made in branches)
        assert isinstance(total, Tensor)
        return F.layer_norm(total / len(branches), (total.shape[2],))

    def fill(self, tokens: Tensor, hidden: Tensor, visible: Tensor) -> Tensor:
        """Visible tokens (M, V, D) in their places, noise in the others. Shape (M, P, D)."""
        filled = torch.randn(*hidden.shape, tokens.shape[2], device=tokens.device, dtype=tokens.dtype) * self.noise
        return filled.scatter(1, visible.unsqueeze(2).expand_as(tokens), tokens)

    def self_distillation(self, predicted: Tensor, first: Tensor, target: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """{"frame", "utterance"} from predictions (M, P, D), first tokens (M, D) and targets (B, P, D)."""
        scale = target.shape[2] ** -0.5
        wanted = target.repeat_interleave(len(hidden) // len(target), 0)
        frame = (predicted[hidden].float() - wanted[hidden]).square().sum(1) * scale
        whole = target.mean(1).repeat_interleave(len(hidden) // len(target), 0)
        utterance = (first.float() - whole).square().sum(1) * scale
        return {"frame": frame.mean(), "utterance": self._over_clones(utterance)}

    def regularisation(self, name: str, encoded: Encoded, embedding: Tensor) -> Tensor:
        """Distance of the first token from a teacher's clip embedding (B, E)."""
        first = encoded.tokens[:, 0] if self.layer == 0 else encoded.branches[self.layer - 1][:, 0]
        if name in self.normalisers:
            embedding = self.normalisers[name](embedding)
        embedding = embedding.repeat_interleave(len(first) // len(embedding), 0)
        if self.projected == "student":
            first = self.projectors[name](first)
        else:
            embedding = self.projectors[name](embedding)
        return self._over_clones(distances(self.distance, first.float(), embedding.float()))

    def after_step(self, step: int) -> None:
        """The slow copy follows."""
        self.slow.follow(self.student, step)
        self.observed["moving_average"] = self.slow.decay(step)

    def _over_clones(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.sum_over_clones else losses.mean()


class Seen(NamedTuple):
    """What the student made of visible patches, and which they were (M, V)."""

    encoded: Encoded
    visible: Tensor


class Decoder(nn.Module):
    """Convolutions over the grid of patches, each added to what went in, then a linear layer.

    Args:
        width: Of a token.
        layers: How many convolutions.
        kernel: Their side.
        groups: Of their channels.
    """

    def __init__(self, width: int, layers: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups) for _ in range(layers)
        )
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, columns: int, rows: int) -> Tensor:
        """(M, P, D), same shape out."""
        grid = tokens.transpose(1, 2).unflatten(2, (columns, rows))
        for block in self.blocks:
            made = F.layer_norm(block(grid).movedim(1, 3), (grid.shape[1],)).movedim(3, 1)
            grid = grid + F.gelu(made)
        return self.proj(grid.flatten(2).transpose(1, 2))


def visible_patches(hidden: Tensor) -> Tensor:
    """Numbers of the patches that each mask leaves visible, in order. (M, P) -> (M, V)."""
    return (~hidden).nonzero()[:, 1].view(len(hidden), -1)


def distances(kind: str, prediction: Tensor, embedding: Tensor) -> Tensor:
    """Distance of each row from its embedding, (rows, E) both, scaled as in CAT's code. Shape (rows,)."""
    scale = embedding.shape[1] ** -0.5
    if kind == "mse":
        return (prediction - embedding).square().sum(1) * scale
    if kind == "l1":
        return (prediction - embedding).abs().sum(1) * scale
    if kind == "cosine":
        return (1 - F.cosine_similarity(prediction, embedding, dim=1, eps=1e-6)) * scale
    # The prediction's divergence from the embedding, that is, in the reverse of the usual order.
    mine, theirs = prediction.log_softmax(1), embedding.log_softmax(1)
    return (mine.exp() * (mine - theirs)).sum(1)
