"""sentence-transformers: a module that takes audio. The contract: InputModule of sentence-transformers 6.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from distill.adapters.clips import batch_of
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.students.saved import card_of, load_student, save_student

try:
    from sentence_transformers.base.modules import InputModule
    from sentence_transformers.util import load_dir_path
except ImportError as error:
    raise UserError("sentence-transformers 6.2 is required: pip install 'audio-distill[kits]'") from error


class StudentModule(InputModule):  # type: ignore[misc]  # the library is optional
    """A student as the only module: `SentenceTransformer(modules=[StudentModule(RUN)])`.

    Args:
        model: Run folder, student folder or hub id.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: there is no such student.
    """

    def __init__(self, model: str, allow_import: str | None = None) -> None:
        super().__init__()
        self.student, self._card = load_student(model, allow_import), card_of(model)

    @property
    def modalities(self) -> list[str]:
        """What is encoded: audio."""
        return ["audio"]

    def preprocess(
        self, inputs: Sequence[Mapping[str, Any]], prompt: str | None = None, **options: Any
    ) -> dict[str, Tensor]:
        """Return the waveform (batch, samples) and the lengths (batch,) of clips.

        Args:
            inputs: Clips, each {"array": samples in [-1, 1], "sampling_rate": Hz}.
            prompt: Not used.
            options: Not used.
        """
        batch = batch_of(inputs, self.student.sample_rate)
        return {"waveform": batch.waveform, "lengths": batch.lengths}

    def forward(self, features: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """Add the embeddings of the clips, "sentence_embedding" (batch, clip_dim)."""
        batch = AudioBatch.of(features["waveform"], self.student.sample_rate, features["lengths"])
        return {**features, "sentence_embedding": self.student(batch.to(self.student.device)).clip}

    def get_embedding_dimension(self) -> int:
        """Return the size of an embedding."""
        return self.student.clip_dim

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write the student folder. sentence-transformers replaces its card and its list of modules afterwards."""
        save_student(self.student, Path(output_path), self._card)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """Load a student folder, as `SentenceTransformer(FOLDER_OR_ID)` does."""
        folder = load_dir_path(
            model_name_or_path, subfolder=subfolder, token=token, cache_folder=cache_folder, revision=revision,
            local_files_only=local_files_only,
        )  # fmt: skip
        return cls(str(folder))
