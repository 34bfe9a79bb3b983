"""Objectives of training, each in one file. They are what differs between papers; the training loop is common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.data.encoders.registry import Registry

if TYPE_CHECKING:
    from distill.objectives.objective import Objective

OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    {
        "classification": "distill.objectives.classification:Classification",
        "embedding": "distill.objectives.embedding:EmbeddingDistillation",
        "latent_prediction": "distill.objectives.latent_prediction:LatentPrediction",
        "masked_prediction": "distill.objectives.masked:MaskedTokenPrediction",
        "utterance_frame": "distill.objectives.utterance_frame:UtteranceFrame",
        "tokenizer": "distill.objectives.tokenizer:TokenizerDistillation",
    },
    base="distill.objectives.objective:Objective",
)
