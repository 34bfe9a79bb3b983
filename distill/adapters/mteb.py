"""MTEB and MAEB: a model of audio. The contract: mteb/models/models_protocols.py of mteb 2.26."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from distill.adapters.clips import batch_of
from distill.data.errors import UserError
from distill.data.fingerprint import weights_digest
from distill.students.saved import load_student


class StudentEncoder:
    """A student as a model of MTEB: `mteb.evaluate(StudentEncoder(RUN), tasks=…)`.

    Args:
        model: Run folder, student folder or hub id.
        revision: Not used; MTEB's command line gives it.
        device: Device of the student. None means the CPU.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: there is no such student, or mteb is not installed.
    """

    def __init__(
        self, model: str, revision: str | None = None, *, device: str | None = None, allow_import: str | None = None
    ) -> None:
        try:
            from mteb.models.modality_collators import AudioCollator
            from mteb.models.model_meta import ModelMeta, ScoringFunction
        except ImportError as error:
            raise UserError("mteb is required: pip install 'audio-distill[kits]'") from error
        self.student = load_student(model, allow_import).to(device or "cpu")
        self._collate = AudioCollator(target_sampling_rate=self.student.sample_rate)
        # MTEB stores results by name and revision, so both must follow the student.
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"audio-distill/{type(self.student).__name__}",
                "revision": weights_digest(self.student),
                "n_parameters": self.student.parameter_count(),
                "embed_dim": self.student.clip_dim,
                "framework": ["PyTorch"],
                "similarity_fn_name": ScoringFunction.COSINE,
                "modalities": ["audio"],
            }
        )

    def encode(self, inputs: Any, **options: Any) -> Any:
        """Return the embeddings of clips, a float32 array (clips, clip_dim).

        Args:
            inputs: MTEB's loader, whose batches have the clips under "audio".
            options: Task, split, subset and prompt, which do not change an embedding of audio.
        """
        inputs.collate_fn = self._collate
        found = []
        with torch.inference_mode():
            for rows in tqdm(inputs, desc="clips", leave=False):
                batch = batch_of(rows["audio"], self.student.sample_rate).to(self.student.device)
                found.append(self.student(batch).clip.float().cpu())
        return torch.cat(found).numpy()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine of each pair (n, m) of embeddings (n, dim) and (m, dim)."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine (n,) of embeddings (n, dim) with those in the same row."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(1)


def _unit(embeddings: Any) -> Tensor:
    return F.normalize(torch.atleast_2d(torch.as_tensor(embeddings)).float(), dim=1)
