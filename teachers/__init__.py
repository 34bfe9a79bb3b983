"""The registry of teachers: frozen encoders by name, one file for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.data.encoders.registry import Registry

if TYPE_CHECKING:
    from distill.teachers.teacher import Teacher

TEACHERS: Registry[Teacher] = Registry(
    "teacher",
    {
        "ast": "distill.teachers.ast:AST",
        "beats": "distill.teachers.beats:BEATs",
        "ced": "distill.teachers.ced:CED",
        "clap": "distill.teachers.clap:CLAP",
        "dasheng": "distill.teachers.dasheng:Dasheng",
        "exported": "distill.teachers.exported_file:ExportedFile",
        "matpac": "distill.teachers.matpac:MATPAC",
        "mel": "distill.teachers.mel:Mel",
        "musicnn": "distill.teachers.musicnn:MusiCNN",
        "onnx": "distill.teachers.onnx_file:OnnxFile",
        "panns": "distill.teachers.panns:PANNs",
        "passt": "distill.teachers.passt:PaSST",
        "randomised": "distill.teachers.randomised:Randomised",
        "ssast": "distill.teachers.ssast:SSAST",
        "tflite": "distill.teachers.tflite_file:TfliteFile",
        "transformers": "distill.teachers.hub:HubModel",
        "spectral": "distill.teachers.spectral:Spectral",
        "precomputed": "distill.teachers.precomputed:Precomputed",
        # Names only, because these modules import students.
        "eat": "distill.eat:EAT",
        "frozen": "distill.frozen:Frozen",
    },
    base="distill.teachers.teacher:Teacher",
)
