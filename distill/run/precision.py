"""The arithmetic of embedding: precision and compilation, both recorded in the fingerprint of a store."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.packed import pack, unpack
from distill.data.encoders.recordings import Pieces
from distill.data.errors import UserError, first_line

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Arithmetic:
    """How an encoder computes. BENCHMARKS.md lists the speed and the error of each choice.

    Args:
        precision: "float32"; "bfloat16" in the matrix products, with the front-end in float32, for GPUs and for CPUs
            with AVX-512 or AMX; or "int8" in the linear layers, by dynamic quantisation, for CPUs.
        compile: Compile the networks with torch.compile, for inputs of fixed shapes. It needs a C++ compiler, and takes
            about a minute. Without a compiler, a line says so and the networks are not compiled.

    Raises:
        ValueError: the precision is unknown.
    """

    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"arithmetic.precision {self.precision!r}: must be one of {', '.join(PRECISIONS)}")

    def apply(self, encoder: Encoder) -> Prepared:
        """Return the encoder with this arithmetic. The numbers of the encoder itself do not change.

        Raises:
            UserError: int8 on another device than the CPU.
        """
        if self.precision == "int8":
            if encoder.device.type != "cpu":
                raise UserError("--arithmetic.precision int8 runs on CPUs only; on a GPU, bfloat16 is the fast one")
            encoder = _quantised(encoder)
        if self.compile:
            encoder = copy.deepcopy(encoder)
            compile_networks(encoder.device, encoder)
        elif self.precision != "int8":
            pack(encoder)
        if self.precision != "bfloat16":
            return Prepared(encoder)
        if encoder.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            warnings.warn(
                "this processor has no arithmetic for bfloat16, which is slower than float32 here; "
                "--arithmetic.precision int8 is the fast one",
                stacklevel=2,
            )
        return Prepared(encoder, in_bfloat16=True)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An encoder with its arithmetic.

    Args:
        encoder: The encoder, as prepared.
        in_bfloat16: Whether matrix products are computed in bfloat16.
    """

    encoder: Encoder
    in_bfloat16: bool = False

    def __call__(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch."""
        with self._precision():
            return self.encoder(batch)

    def pieces(self, pieces: Pieces, frames: bool) -> Embeddings:
        """Embed a clip that comes in pieces, with the arguments of `Encoder.encode_pieces`."""
        with self._precision():
            return self.encoder.encode_pieces(pieces, frames)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=self.in_bfloat16)


def compile_networks(device: torch.device, *encoders: Encoder) -> None:
    """Compile the networks of encoders in place, for inputs of fixed shapes. Print a line where this is impossible.

    Front-ends are not compiled. The state dict stays as it is, and copies of an encoder are not compiled.

    Args:
        device: Device that they will run on.
        encoders: The encoders.
    """
    if fault := _compiler_fault(device):
        print(f"not compiled, as torch.compile does not work here: {fault}")
        return
    for encoder in encoders:
        for network in _networks(encoder):
            network.compile(dynamic=False)


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a module that have weights. A list of blocks is not called itself, so its blocks are parts."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or type(child) is nn.Sequential:
            yield from _networks(child)
        elif next(child.parameters(), None) is not None:
            yield child


def _compiler_fault(device: torch.device) -> str:
    """Return why torch.compile does not work on a device, in one line. Empty: it works."""
    try:
        torch.compile(_increased)(torch.ones(16, device=device))
    except Exception as error:  # those of compilers, of missing headers and of Triton
        return first_line(error)
    return ""


def _increased(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def _quantised(encoder: Encoder) -> Encoder:
    """Return a copy whose linear layers have int8 weights and quantise their input."""
    encoder = copy.deepcopy(encoder)
    unpack(encoder)  # only plain layers are quantised
    with warnings.catch_warnings():
        # torch warns that this moves to torchao, which is not faster on a CPU.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, inplace=True)
    return encoder
