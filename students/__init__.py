"""Trainable encoders, one file or folder each, and the registry of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.data.encoders.registry import Registry

if TYPE_CHECKING:
    from distill.students.student import Student

STUDENTS: Registry[Student] = Registry(
    "student",
    {
        "bc_resnet": "distill.students.bc_resnet:BCResNet",
        "cnn": "distill.students.cnn:CNN",
        "dymn": "distill.students.dymn:DyMN",
        "eres2net": "distill.students.eres2net:ERes2Net",
        "hear": "distill.students.hear.students:Hear",
        "hear_classifier": "distill.students.hear.classifier:HearClassifier",
        "hear_tokenizer": "distill.students.hear.students:HearTokenizer",
        "patch_transformer": "distill.students.patch_transformer.student:PatchTransformer",
        "mobilenet_v3": "distill.students.mobilenet_v3:MobileNetV3",
    },
    base="distill.students.student:Student",
)
