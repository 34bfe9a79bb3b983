"""The configuration of a student for transformers: the config.json of its folder."""

from __future__ import annotations

from transformers import PreTrainedConfig

from distill.students.saved import MODEL_TYPE


class StudentConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers has no types that are useful here
    """The values in config.json of a student folder, as attributes."""

    model_type = MODEL_TYPE
