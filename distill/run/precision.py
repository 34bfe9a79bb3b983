"""Embedding in fewer bits, or compiled: what a user may trade for speed, said in the fingerprint of every store."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.teachers.teacher import Teacher

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Arithmetic:
    """How an encoder computes; BENCHMARKS.md says what each choice gives and costs.

    Args:
        precision: "float32"; "bfloat16" in the matrix products, with the front-end in float32, for GPUs and for CPUs
            with AVX-512 or AMX; or "int8" in the linear layers, by dynamic quantisation, on any CPU.
        compile: Compile the networks with torch.compile: a minute at the start, and a C++ compiler is needed.

    Raises:
        ValueError: an unknown precision.
    """

    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"arithmetic.precision {self.precision!r}: one of {', '.join(PRECISIONS)} is wanted")

    def apply(self, encoder: Encoder) -> Callable[[AudioBatch], Embeddings]:
        """The encoder as a function of a batch, computing this way; the encoder itself is not changed.

        Raises:
            UserError: int8 on another device than the CPU.
        """
        if self.precision == "int8":
            if encoder.device.type != "cpu":
                raise UserError("--arithmetic.precision int8 is for CPUs; on a GPU bfloat16 is the fast one")
            encoder = _quantised(encoder)
        if self.compile:
            encoder = copy.deepcopy(encoder)
            for network in encoder.networks.values() if isinstance(encoder, Teacher) else encoder.children():
                network.compile()
        if self.precision != "bfloat16":
            return encoder
        if encoder.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            warnings.warn(
                "this processor has no arithmetic for bfloat16, which is slower than float32 here; "
                "--arithmetic.precision int8 is the fast one",
                stacklevel=2,
            )

        def in_bfloat16(batch: AudioBatch) -> Embeddings:
            with torch.autocast(batch.waveform.device.type, torch.bfloat16):
                return encoder(batch)

        return in_bfloat16


def _quantised(encoder: Encoder) -> Encoder:
    """A copy whose linear layers hold int8 weights, and quantise what they are given."""
    encoder = copy.deepcopy(encoder)
    with warnings.catch_warnings():
        # torch means to move this into a package of its own, torchao, which brings nothing more on a CPU.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        if isinstance(encoder, Teacher):
            networks = torch.ao.quantization.quantize_dynamic(encoder.networks, {torch.nn.Linear}, inplace=True)
            for name, network in networks.items():
                setattr(encoder, name, network)
        else:
            torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, inplace=True)
    return encoder
