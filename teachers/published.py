"""Sizes of published checkpoints. This module must not import torch, because `distill list` runs without it."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Sizes of a teacher's published checkpoint, so that it can be listed without being loaded.

    Args:
        parameters: Number of weights, with the head where the file has one.
        clip_dim: Size of a clip's embedding.
        frame_dim: Size of a frame's embedding.
        frame_hop: Seconds from one frame to the next.
    """

    parameters: int
    clip_dim: int
    frame_dim: int
    frame_hop: float
