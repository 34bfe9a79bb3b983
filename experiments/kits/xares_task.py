"""The task of tones for X-ARES."""

from typing import Any

from xares.task import TaskConfig


def tones_config(encoder: Any) -> TaskConfig:
    """Return the task of two classes, with the tars in env/tones."""
    return TaskConfig(
        encoder=encoder, name="tones", formal_name="Tones", output_dim=2, eval_weight=16, epochs=50, batch_size_train=8,
        private=False, label_processor=lambda row: row["label"],
    )  # fmt: skip
