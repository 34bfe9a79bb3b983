"""The commands, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

COMMANDS = {
    "fit": "train a student: distil a teacher into it",
    "embed": "run a teacher or a trained student over audio, into an embedding store",
    "store": "describe a store, verify it, or write it as Parquet or .npz",
    "search": "find the clips of a store that are nearest to a sound, or to a text with CLAP",
    "cluster": "cluster a store by k-means, with a report",
    "probe": "score an encoder on labelled clips: linear, mlp, knn or fine-tuned",
    "rank": "compare teachers on your sounds before anything is trained, beside mel statistics",
    "evaluate": "score a trained classifier on labelled clips, over all classes and for each",
    "predict": "write the scores of a trained classifier for files or hours of sound, as a table",
    "export": "write a trained student for another runtime",
    "push": "upload a trained student to the Hugging Face hub, private by default",
    "report": "draw a run or a map of embeddings, or compare runs: scores, retention, costs",
    "list": "list teachers, students, objectives, losses: with licence, sample rate and source of the weights",
}
POSITIONAL = {  # options of a command that words without a name give, in their order
    "store": ("--store",),
    "search": ("--query",),
    "report": ("--run",),
    "push": ("--model", "--to"),
}
SEVERAL_TEACHERS = {"fit": "encoder to imitate", "rank": "encoder to compare"}  # commands that take --teacher+=NAME


def function_of(command: str) -> Callable[..., Any]:
    """Return the function of a command."""
    return getattr(import_module(f"distill.commands.{command}"), command)


def parameters_of(command: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a command by name, which are its options."""
    return inspect.signature(function_of(command)).parameters
