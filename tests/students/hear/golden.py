"""The golden tensors of HEAR, and the official weights of every size, by the rule of their README."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.data.batch import AudioBatch
from tests.conftest import GOLDEN

TINY = GOLDEN / "hear" / "tiny"
OVERLAP = 10


@cache
def inputs() -> dict[str, Tensor]:
    """Return the golden inputs of the tiny models, with half precision as float32."""
    return {
        key: t.float() if t.dtype == torch.float16 else t for key, t in load_file(TINY / "inputs.safetensors").items()
    }


@cache
def outputs(size: str = "tiny") -> dict[str, Tensor]:
    """Return the golden outputs of the models of one size: "tiny" or "default"."""
    return load_file(GOLDEN / "hear" / size / "outputs.safetensors")


def waveform(name: str) -> Tensor:
    """Return a golden waveform with one channel, in [-1, 1]. Shape (batch, samples)."""
    return inputs()[name].float().mean(1) / 32768 if name == "wave_stereo" else inputs()[name][:, 0].float() / 32768


def official_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return the official weight `key`, regenerated from its key and shape."""
    count = math.prod(shape)
    state = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    u = torch.from_numpy((state.randint(-(2**23), 2**23, count) / 2**23).reshape(shape))
    if key.endswith("running_var"):
        return (1 + 0.5 * u).float()
    if key.endswith("running_mean"):
        return (0.1 * u).float()
    if "positional_embedding" in key:
        return (0.7 * u).float()
    if "query_bias" in key or key.endswith("pos_embed"):
        return (0.3 * u).float()
    if key.endswith("code_book"):
        return u.float()
    if len(shape) == 1:
        return (1 + 0.2 * u if "norm" in key and key.endswith("weight") else 0.1 * u).float()
    return (u * math.sqrt(3 / math.prod(shape[1:]))).float()


def official_weights(keys: dict[str, Any], rename: tuple[str, str] = ("", "")) -> dict[str, Tensor]:
    """Return all weights of an official module, regenerated from its list of keys.

    Args:
        keys: Shape and dtype of each weight, by key.
        rename: Prefix of a key, and the prefix by which its weight is regenerated. Empty: the keys are used.
    """
    state = {}
    for key, (shape, _) in keys.items():
        if key.startswith("preprocessor."):
            continue
        owner = rename[1] + key.removeprefix(rename[0]) if rename[0] and key.startswith(rename[0]) else key
        is_counter = key.endswith("num_batches_tracked")
        state[key] = torch.zeros((), dtype=torch.int64) if is_counter else official_weight(owner, tuple(shape))
    return state


def synthetic(seed: int, samples: int) -> Tensor:
    """Return the synthetic waveform of a seed. Shape (samples,), int16."""
    noise = np.random.RandomState(seed).randint(-1000, 1001, size=samples + 16).astype(np.int64)
    taps = [5, 4, 3, 2, 1, 0, -1, -1, 1, 0, 2, 0, 0, -1, 0, 1]
    signal = sum(tap * noise[k : k + samples] for k, tap in enumerate(taps))
    position = np.arange(samples) % 8000
    signal = signal * (np.minimum(position, 8000 - position) + 400) // 4400 + 37
    return torch.from_numpy(np.clip(signal, -32768, 32767).astype(np.int16))


def padded_batch(seeds: list[int], lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Return a padded batch of synthetic waveforms in [-1, 1], and their lengths."""
    rows = torch.zeros(len(seeds), max(lengths), dtype=torch.int16)
    for row, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
        rows[row, :length] = synthetic(seed, length)
    return rows.float() / 32768, torch.tensor(lengths)


def assert_matches(name: str, tensor: Tensor, atol: float, size: str = "default") -> None:
    """Compare a tensor with its golden shape, statistics, and the first 256 of every n-th element."""
    golden = outputs(size)
    flat = tensor.detach().flatten()
    assert tuple(golden[f"{name}.shape"].tolist()) == tuple(tensor.shape)
    step = int(golden[f"{name}.step"])
    torch.testing.assert_close(flat[::step][:256], golden[f"{name}.sample"].flatten(), atol=atol, rtol=1e-4)
    stats = torch.tensor([flat.mean(), flat.std(), flat.abs().mean(), flat.abs().max()])
    torch.testing.assert_close(stats, golden[f"{name}.stats"].float().flatten(), atol=atol, rtol=1e-4)


def short_batch() -> AudioBatch:
    """Return the golden batch of short clips, at 16 kHz."""
    return AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"])


def assert_close(found: Tensor, name: str, atol: float = 1e-4) -> None:
    """Compare a tensor with the golden output of this name."""
    torch.testing.assert_close(found.detach(), outputs()[name].to(found.dtype), atol=atol, rtol=1e-4)


def assert_gradients(found: Mapping[str, Tensor], stem: str, at_least: int) -> None:
    """Compare gradients by their official keys with the golden outputs whose names begin with `stem`.

    Of large tensors, the golden output is the norm. There must be more than `at_least` golden gradients.
    """
    golden = {key.removeprefix(stem): tensor for key, tensor in outputs().items() if key.startswith(stem)}
    assert len(golden) > at_least
    for key, expected in golden.items():
        gradient = found[key] if expected.dim() else found[key].norm()
        torch.testing.assert_close(gradient, expected.float(), atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")
