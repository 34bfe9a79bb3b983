"""Evaluation of an encoder: splits, protocols, scores and cost."""
