"""The weight of each teacher's loss for each clip: by the domain of the clip, and by dropping teachers at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.data.clips.manifest import Manifest
from distill.data.clips.views import clip_name, name_key
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError
from distill.data.store.texts import TextIndex, Texts
from distill.losses.host_value import HostValue
from distill.objectives.parts.augmentation import Mix

_UNKNOWN = -1  # in place of the number of a teacher


class ClipWeights(nn.Module):
    """Weight of each teacher's loss for each clip. The weights of a clip sum to 1.

    By domains, with M teachers: the teacher of the clip's domain weighs w / (w + M - 1), each other 1 / (w + M - 1). In
    an unknown domain each weighs 1 / M (USAD 2.0, arXiv 2606.06444: domain-aware distillation).

    By dropping: the teacher with the highest loss of a clip is kept, each other is dropped with a probability (UNIC,
    arXiv 2408.05088: teacher dropping). The official code divides the kept losses by their number in the batch. Here,
    those of a clip are divided by their sum of weights, so that the mean does not depend on the division of a batch
    among processes.

    Args:
        teachers: Names of the teachers.
        domains: Name of the teacher of each domain. None: all clips are of an unknown domain.
        domain_weight: The weight w of the teacher of the domain, above 0.
        dropping: Probability that a teacher is dropped for a clip in training, from 0 to 1.

    Raises:
        UserError: an option is out of range, or a name is not that of a teacher.
    """

    def __init__(
        self, teachers: Sequence[str], domains: Mapping[str, str] | None, domain_weight: float, dropping: float
    ) -> None:
        super().__init__()
        if not domain_weight > 0:
            raise UserError(f"--objective.domain_weight {domain_weight:g}: must be above 0")
        if not 0 <= dropping <= 1:
            raise UserError(f"--objective.teacher_dropping {dropping:g}: must be from 0 to 1")
        for domain, name in (domains or {}).items():
            if name not in teachers:
                raise UserError(
                    f"--objective.domains: {domain!r} names no teacher {name!r}; {suggest(name, list(teachers))}"
                )
        self.teachers, self.domains, self.dropping = tuple(teachers), domains, dropping
        self.domain_weight = domain_weight
        self._seed = torch.initial_seed()  # that of the run, which is set before an objective is built
        self._ids = Texts.of([])
        self._teacher_of_clip = np.array([_UNKNOWN], np.int32)  # the last is that of clips that were not read
        self.register_buffer("step", torch.tensor(0))  # draws go on where they were after a resume
        self.step: Tensor
        self._known_step = HostValue()

    def set_step(self, step: int) -> None:
        """Set the step of the next draws."""
        self._known_step.set(self.step, step)

    def read_clips(self, manifest: Manifest) -> None:
        """Read the domain of each clip.

        Raises:
            UserError: the data names no domains, or one without a teacher.
        """
        if self.domains is None:
            return
        column = manifest.rows.domains
        if column is None:
            raise UserError(
                f"--objective.domains: {manifest.source} names no domains; add a column `domain` to a table, or "
                "a field `domain` to the JSON beside the sounds of a tar"
            )
        for (name,) in column.used():
            if name and name not in self.domains:
                raise UserError(
                    f"--objective.domains: no teacher for the domain {name!r} in {manifest.source}; "
                    f"{suggest(name, list(self.domains))}"
                )
        numbers = [self._number_of(name) for (name,) in column.values]
        self._ids = manifest.ids
        self._teacher_of_clip = np.append(np.array(numbers, np.int32)[column.codes], np.int32(_UNKNOWN))
        self.__dict__.pop("_index", None)

    def _number_of(self, domain: str) -> int:
        """Return the number of the teacher of a domain."""
        name = (self.domains or {}).get(domain)
        return _UNKNOWN if name is None else self.teachers.index(name)

    @cached_property
    def _index(self) -> TextIndex:
        return TextIndex(self._ids)

    def by_domain(self, ids: Sequence[str], mix: Mix | None = None) -> Tensor:
        """Return the weights of clips by their domains. Shape (clips, teachers).

        Args:
            ids: Names of the clips, or of their views.
            mix: How the clips were mixed; a mixture has the mixed weights. None: they were not.
        """
        places = self._index.find_all(ids)
        if (places < 0).any():
            places = np.where(places < 0, self._index.find_all([clip_name(name) for name in ids]), places)
        matching = torch.from_numpy(self._teacher_of_clip[places])
        one_hot = matching.unsqueeze(1) == torch.arange(len(self.teachers))
        weights = torch.where(one_hot, self.domain_weight, 1.0)
        weights = weights / weights.sum(1, keepdim=True)
        if mix is None:
            return weights
        shares = mix.shares.unsqueeze(1)
        return shares * weights + (1 - shares) * weights[mix.partners]

    def forward(self, ids: Sequence[str], losses: Tensor, mix: Mix | None = None) -> Tensor:
        """Return the weights of clips, without a gradient. Shape (clips, teachers).

        Args:
            ids: Names of the clips.
            losses: Loss of each clip for each teacher. Shape (clips, teachers).
            mix: As for `by_domain`.
        """
        weights = self.by_domain(ids, mix).to(losses, non_blocking=True)
        if not (self.training and self.dropping):
            return weights
        kept = torch.from_numpy(self._draws(ids) >= self.dropping).to(losses.device, non_blocking=True)
        kept.scatter_(1, losses.detach().argmax(1, keepdim=True), True)
        weights = weights * kept
        return weights / weights.sum(1, keepdim=True)

    def _draws(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Return a number in [0, 1) for each clip and teacher, a function of seed, step and the clip's name."""
        keys = map(name_key, ids)
        start = [self._seed, int(self._known_step.get(self.step))]
        return np.stack([np.random.default_rng([*start, key]).random(len(self.teachers)) for key in keys])
