"""Frozen encoders, one file each, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.data.registry import Registry

if TYPE_CHECKING:
    from distill.teachers.teacher import Teacher

TEACHERS: Registry[Teacher] = Registry(
    "teacher",
    {
        "ast": "distill.teachers.ast:AST",
        "spectral": "distill.teachers.spectral:Spectral",
        "precomputed": "distill.teachers.precomputed:Precomputed",
    },
)
