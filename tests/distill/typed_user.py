"""A script of a user, read by mypy alone; tests/distill/test_public.py knows what must be found in it."""

from __future__ import annotations

from typing import reveal_type

import torch

import distill


class Mine(distill.Teacher):
    """A subclass of a public class is no error."""

    sample_rate = 16_000

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(batch.waveform[:, :4])


student = distill.load("runs/first")
reveal_type(student)
reveal_type(distill.create_student("mobilenet_v3", width=0.1))
reveal_type(student.embed(torch.zeros(16_000), 16_000).clip)
distill.fit(teacher=Mine(), student="mobilenet_v3", data="sounds", out="runs/first")
distill.fit(teecher="ast", student="mobilenet_v3", data="sounds", out="runs/first")  # an error: misspelt
distill.fitt()  # an error: misspelt
