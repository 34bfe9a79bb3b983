"""Distillation of embeddings. It needs no logits, no labels and no pairing of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.clips.manifest import Manifest
from distill.data.clips.views import Views
from distill.data.errors import UserError, require_one_of
from distill.data.files import as_settings
from distill.data.store.reader import EmbeddingStore
from distill.losses import build_loss
from distill.objectives.objective import Objective
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.augmentation import Augmentation
from distill.objectives.parts.clip_weights import ClipWeights
from distill.objectives.parts.health import EmbeddingHealth
from distill.objectives.parts.imitation import Imitation, build_projector
from distill.objectives.parts.yardstick import observed_of
from distill.students.spaces import Space
from distill.students.student import Student
from distill.teachers.teacher import Teacher

LEVELS = ("clip", "frame")
TARGET_TRANSFORMS = ("auto", "raw", "standardised", "whitened", "phi_s")
TEACHER_INPUTS = ("clean", "same")
PROJECTORS = ("mlp", "linear")


class EmbeddingDistillation(Objective):
    """Imitation of teachers' embeddings, each through its own projector (S-SONDO, arXiv 2604.24933, section 2.1).

    The projector maps the student's embedding to the teacher's size. For clip embeddings it is kept with the student,
    as its `spaces`. There is one loss for each teacher, with the teacher's name. The paper's recipe has raw targets and
    the projector "mlp".

    Each forward measures the share of the loss that the student explains beyond the best constant prediction
    ("explained"), or the share of its predictions that are nearest to their own target ("recall"); with several
    teachers one of each ("explained_NAME") and their mean. It measures "mean_cosine", between the student's clip
    embeddings, and their "effective_rank", in training every 50 steps.

    Args:
        student: Encoder to train.
        teachers: Encoders to imitate, by name; live or `Precomputed`.
        loss: Registered name of a loss, or {class_path: NAME, init_args: {...}} for a loss with options.
        level: "clip" compares clip embeddings; "frame" compares frame embeddings, paired by time.
        alignment: How frames are paired; see `distill.objectives.parts.alignment.Alignment`.
        targets: "raw": embeddings as they are; "standardised": each column has mean 0 and variance 1, by the
            statistics of the store or, with a live teacher, of all embeddings so far; "whitened": mean 0 and
            covariance 1, by the statistics of the store; "phi_s": rotated so that one scale gives every column
            variance 1, by the statistics of the store (PHI-S, arXiv 2410.01680). "auto", the default of earlier
            versions, means raw with one teacher and standardised with several.
        augmentation: Changes to the student's input in training.
        teacher_input: Input of the teacher in training. "clean": the clips without augmentation; where two clips are
            mixed, their embeddings are mixed too. "same": the student's input. This needs a live teacher, or a store of
            `distill embed --views`, whose views are then the student's input. A view that is mixed with another clip
            has the weights of its own clip, whose share is the larger one, in `domains`.
        projector: "linear": the teacher's embedding becomes a linear function of the student's; or "mlp": Linear,
            Hardswish, Dropout, Linear, as in the paper.
        hidden: Width of the projector "mlp". 0 means 4/3 of the student's embedding, as 1280 is of 960 in the paper.
        dropout: Dropout rate in the projector "mlp"; 0 disables it.
        weights: Weight of each teacher's loss, by name. Weights that are not given are 1.
        domains: Name of the teacher of each domain, for teachers that are specialised. A clip of a domain, by the
            column `domain` of the data's table, learns more from the teacher of its domain; see `ClipWeights`. None:
            all clips learn alike.
        domain_weight: Weight of the loss of a clip's own teacher, beside 1 for each other; the weights of a clip are
            divided by their sum (USAD 2.0: 10).
        teacher_dropping: Probability that a teacher is dropped for a clip in training, unless its loss is the highest
            (UNIC: 0.5). 0 disables it.

    Raises:
        UserError: there is no teacher; an option is unknown; an encoder has no frames and `level` is "frame"; the
            teacher's input cannot be augmented as the options require; or the loss cannot be weighted by clips.
    """

    takes_teachers = True
    requires_teachers = True
    renamed_options: ClassVar[dict[str, str]] = {"teacher_hears": "teacher_input"}

    def __init__(
        self,
        student: Student,
        teachers: Mapping[str, Teacher],
        loss: str | dict[str, Any] = "cosine",
        level: str = "clip",
        alignment: str = "auto",
        targets: str = "standardised",
        augmentation: Augmentation | Mapping[str, Any] = Augmentation(),
        teacher_input: str = "clean",
        projector: str = "linear",
        hidden: int = 0,
        dropout: float = 0.2,
        weights: Mapping[str, float] | None = None,
        domains: Mapping[str, str] | None = None,
        domain_weight: float = 10.0,
        teacher_dropping: float = 0.0,
    ) -> None:
        super().__init__(student, dict.fromkeys(teachers, 1.0), weights, teachers)
        if not teachers:
            raise UserError("--teacher is required: the student imitates a teacher's embeddings")
        require_one_of("--objective.level", level, LEVELS)
        require_one_of("--objective.targets", targets, TARGET_TRANSFORMS)
        require_one_of("--objective.projector", projector, PROJECTORS)
        require_one_of("--objective.teacher_input", teacher_input, TEACHER_INPUTS)
        self.augmentation = as_settings(Augmentation, augmentation)
        self.augments_teachers = teacher_input == "same"
        self.reads_frames = level == "frame"
        self._check_teacher_input(teachers)
        weighs_clips = domains is not None or teacher_dropping != 0
        self.clip_weights = (
            ClipWeights(tuple(teachers), domains, domain_weight, teacher_dropping) if weighs_clips else None
        )
        if weighs_clips and not getattr(build_loss(loss), "averages_rows", False):
            raise UserError(
                f"--objective.loss {loss if isinstance(loss, str) else loss.get('class_path')}: not a mean over clips "
                "(`averages_rows`), so --objective.domains and --objective.teacher_dropping cannot weight its clips; "
                "use cosine"
            )
        if targets == "auto":
            targets = "standardised" if len(teachers) > 1 else "raw"
        hidden = hidden or (student.frame_dim if self.reads_frames else student.clip_dim) * 4 // 3
        self.imitations = nn.ModuleDict()
        for name, teacher in teachers.items():
            pairing = Alignment(student.frame_hop, teacher.frame_hop, alignment) if self.reads_frames else None
            dims = (student.frame_dim, teacher.frame_dim) if pairing else (student.clip_dim, teacher.clip_dim)
            mapping = build_projector(projector, *dims, hidden, dropout)
            self.imitations[name] = Imitation(teacher, mapping, build_loss(loss), pairing, targets, weighs_clips)
        self.health = EmbeddingHealth()
        self.needs_clusters = bool(getattr(build_loss(loss), "needs_clusters", False))
        stored_targets = f"{targets} targets" if targets in ("whitened", "phi_s") else ""
        self.needs_store = stored_targets or ("clusters" if self.needs_clusters else "")

    def spaces(self) -> Mapping[str, Space]:
        """Return the map from the student's clip embedding into the space of each teacher, by its name."""
        imitations = {name: part for name, part in self.imitations.items() if isinstance(part, Imitation)}
        found = {name: imitation.space() for name, imitation in imitations.items()}
        return {name: space for name, space in found.items() if space is not None}

    def _check_teacher_input(self, teachers: Mapping[str, Teacher]) -> None:
        """Raise UserError if a teacher cannot get the input that its targets need."""
        stored = {name: teacher.store for name, teacher in teachers.items() if teacher.store is not None}
        if self.augments_teachers and stored:
            self.views = self._shared_views(stored)
        if self.augmentation.roll and self.reads_frames and not self.augments_teachers:
            raise UserError(
                "--objective.augmentation.roll moves the student's input away from the teacher's frames: leave it "
                "out, or use --objective.level clip, or --objective.teacher_input same (with --live)"
            )

    def _shared_views(self, stores: Mapping[str, EmbeddingStore]) -> Views:
        """Return the views that all stores hold. Raises UserError if they differ, or if the input is changed again."""
        views = {name: Views.of_store(store.fingerprint) for name, store in stores.items()}
        first, *others = views.values()
        if clean := next((name for name, found in views.items() if found.count == 1), ""):
            raise UserError(
                f"--objective.teacher_input same: the store of {clean!r} has embeddings of clean clips only; "
                "use --live, or a store of `distill embed --views 4`"
            )
        if differing := next((found for found in others if found != first), None):
            raise UserError(f"--objective.teacher_input same: the stores have different views, {first} and {differing}")
        if self.augmentation != Augmentation():
            raise UserError(
                "--objective.augmentation: the input is a view of the store, which has its changes already; leave it "
                "out, and see `distill embed --views.gain`, `--views.roll` and `--views.mixup`"
            )
        return first

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return the loss of each teacher, by name, and observe how much of it the student explains."""
        augmented, mix = self.augmentation(batch) if self.training else (batch, None)
        embeddings = self.student(augmented)
        clusters = None
        if self.needs_clusters:
            assert self.clusters is not None, "`fit` sets the clusters"
            labels = torch.from_numpy(self.clusters.labels_of(batch.ids))
            clusters = labels.to(embeddings.clip.device, non_blocking=True)
        imitated = {}
        for name, imitation in self.imitations.items():
            assert isinstance(imitation, Imitation)
            target = self.teachers[name](augmented if self.augments_teachers else batch)
            if mix is not None and not self.augments_teachers:
                target = target.mix(*mix)
            imitated[name] = imitation(embeddings, target, clusters)
        measured = {name: found.observed for name, found in imitated.items()}
        self.observed = observed_of(measured) | self.health(embeddings.clip)
        if self.clip_weights is None:
            return {name: found.loss for name, found in imitated.items()}
        by_clip = torch.stack([found.by_clip(len(batch)) for found in imitated.values()], 1).detach()
        weights = self.clip_weights(batch.ids, by_clip, mix)
        return {name: found.weighted(column) for (name, found), column in zip(imitated.items(), weights.T, strict=True)}

    def read_clips(self, manifest: Manifest) -> None:
        """Read the domains of the clips. Raises UserError if one has no teacher."""
        if self.clip_weights is not None:
            self.clip_weights.read_clips(manifest)

    def after_step(self, step: int) -> None:
        """Set the step of the draws of dropped teachers."""
        if self.clip_weights is not None:
            self.clip_weights.set_step(step)
