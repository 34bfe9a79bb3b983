"""The golden tensors of EAT and CAT, and their pre-training network with the official weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill.data.batch import AudioBatch, Embeddings
from distill.objectives.utterance_frame import UtteranceFrame
from distill.students.patch_transformer.student import PatchTransformer
from distill.teachers.teacher import Teacher
from tests.conftest import GOLDEN


@cache
def golden(system: str, part: str) -> dict[str, Tensor]:
    """Return the golden tensors of one part of "eat" or "cat", such as "inputs" or "outputs"."""
    return load_file(GOLDEN / system / f"{part}.safetensors")


@cache
def scalars(system: str) -> dict[str, Any]:
    """Return the golden numbers of "eat" or "cat"."""
    return json.loads((GOLDEN / system / "scalars.json").read_text())


class FixedClip(Teacher):
    """A teacher with fixed clip embeddings."""

    sample_rate = 16_000

    def __init__(self, clip: Tensor) -> None:
        super().__init__()
        self.clip = clip

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(self.clip[: len(batch)])


def official_objective(system: str, folder: Path, **options: Any) -> UtteranceFrame:
    """Build the golden pre-training network: student, decoder, projector and slow copy."""
    state = golden(system, "state_dict")
    save_file({k: v for k, v in state.items() if not k.startswith("_ema.")}, folder / "student.safetensors")
    save_file({k[5:]: v for k, v in state.items() if k.startswith("_ema.")}, folder / "slow.safetensors")
    channels = (16, 24)
    student, slow = (
        PatchTransformer(heads=2, channels=channels, checkpoint=str(folder / f"{name}.safetensors"))
        for name in ("student", "slow")
    )
    teachers = {"clap": FixedClip(golden("cat", "inputs")["clap_emb"])} if system == "cat" else {}
    clones = {"eat": 4, "cat": 2}[system]
    objective = UtteranceFrame(student, teachers, clones=clones, noise=0.0, sum_over_clones=True, **options)
    objective.slow.network.load_state_dict(slow.state_dict())
    prefix = "modality_encoders.IMAGE.decoder."
    decoder = {k.removeprefix(prefix).replace(".0.", "."): v for k, v in state.items() if k.startswith(prefix)}
    objective.decoder.load_state_dict(decoder)
    if teachers and options.get("projected") != "teacher":
        objective.projectors["clap"].load_state_dict(
            {"weight": state["clap_proj.weight"], "bias": state["clap_proj.bias"]}
        )
    return objective


def source(system: str) -> Tensor:
    """Return the golden spectrograms. Shape (batch, time, bands)."""
    inputs = golden(system, "inputs")
    return (inputs["source"] if system == "eat" else inputs["source_fp16"].float())[:, 0]


def hidden_patches(system: str) -> Tensor:
    """Return the golden mask: True where a patch is hidden. Shape (batch, patches), bool."""
    return golden(system, "inputs")["mask"].bool()


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare with a tolerance relative to the largest expected value, if that is above 1."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, atol=tolerance * max(1.0, scale), rtol=tolerance)
