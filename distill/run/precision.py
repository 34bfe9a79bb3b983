"""The arithmetic of embedding: precision and compilation, both recorded in the fingerprint of a store."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Arithmetic:
    """How an encoder computes. BENCHMARKS.md lists the speed and the error of each choice.

    Args:
        precision: "float32"; "bfloat16" in the matrix products, with the front-end in float32, for GPUs and for CPUs
            with AVX-512 or AMX; or "int8" in the linear layers, by dynamic quantisation, for CPUs.
        compile: Compile the networks with torch.compile. It needs a C++ compiler and takes about a minute.

    Raises:
        ValueError: the precision is unknown.
    """

    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"arithmetic.precision {self.precision!r}: must be one of {', '.join(PRECISIONS)}")

    def apply(self, encoder: Encoder) -> Callable[[AudioBatch], Embeddings]:
        """Return a function that embeds a batch with this arithmetic. The encoder itself does not change.

        Raises:
            UserError: int8 on another device than the CPU.
        """
        if self.precision == "int8":
            if encoder.device.type != "cpu":
                raise UserError("--arithmetic.precision int8 runs on CPUs only; on a GPU, bfloat16 is the fast one")
            encoder = _quantised(encoder)
        if self.compile:
            encoder = copy.deepcopy(encoder)
            for network in encoder.children():
                network.compile()
        if self.precision != "bfloat16":
            return encoder
        if encoder.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            warnings.warn(
                "this processor has no arithmetic for bfloat16, which is slower than float32 here; "
                "--arithmetic.precision int8 is the fast one",
                stacklevel=2,
            )

        def embed_in_bfloat16(batch: AudioBatch) -> Embeddings:
            with torch.autocast(batch.waveform.device.type, torch.bfloat16):
                return encoder(batch)

        return embed_in_bfloat16


def _quantised(encoder: Encoder) -> Encoder:
    """Return a copy whose linear layers have int8 weights and quantise their input."""
    encoder = copy.deepcopy(encoder)
    with warnings.catch_warnings():
        # torch warns that this moves to torchao, which is not faster on a CPU.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, inplace=True)
    return encoder
