"""Convert the tagger of the package musicnn 0.1.0 (ISC) into teachers/weights/musicnn.safetensors.

    pip download --no-deps musicnn==0.1.0
    .venv/bin/python tools/convert_musicnn.py musicnn-0.1.0-py3-none-any.whl teachers/weights/musicnn.safetensors

The checkpoint is one of TensorFlow. It is read as data, without TensorFlow. The values are not changed.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

_PREFIX = "musicnn/MTT_musicnn/"
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# Layers in the order in which musicnn/models.py creates them; TensorFlow numbers the layers of a kind.
_CONVOLUTIONS = [
    f"{part}.{n}" for part, count in (("timbral", 2), ("temporal", 3), ("middle", 3)) for n in range(count)
]
_NORMS = ["input_norm", *(f"{layer}.norm" for layer in _CONVOLUTIONS), "head.0", "head.3"]
_DENSE = ["head.1", "head.4"]


def main() -> None:
    """Read the wheel, and write the file."""
    wheel, target = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as archive:
        index, data = (archive.read(f"{_PREFIX}{name}") for name in (".index", ".data-00000-of-00001"))
    tensors = {key: tensor.contiguous() for key, tensor in converted(read_bundle(index, data)).items()}
    save_file(tensors, target)
    print(f"{_PREFIX}.data-00000-of-00001: sha256 {hashlib.sha256(data).hexdigest()}")
    print(f"{target}: {sum(tensor.numel() for tensor in tensors.values()):,} numbers, {target.stat().st_size:,} bytes")


def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of TensorFlow under the keys and in the order of dimensions of `MusiCNNNetwork`."""
    tensors = {}
    for number, layer in enumerate(_CONVOLUTIONS):
        name = f"conv2d{_suffix(number)}"
        tensors[f"{layer}.convolution.weight"] = state[f"{name}/kernel"].permute(3, 2, 0, 1)
        tensors[f"{layer}.convolution.bias"] = state[f"{name}/bias"]
    for number, layer in enumerate(_NORMS):
        for ours, theirs in _NORM.items():
            tensors[f"{layer}.{ours}"] = state[f"batch_normalization{_suffix(number)}/{theirs}"]
    for number, layer in enumerate(_DENSE):
        tensors[f"{layer}.weight"] = state[f"dense{_suffix(number)}/kernel"].T
        tensors[f"{layer}.bias"] = state[f"dense{_suffix(number)}/bias"]
    # The input of the head has the maximum and the mean of one feature after the other; ours has all means, then all
    # maxima, as the clip embedding.
    for key in [key for key in tensors if key.startswith("head.0.")]:
        tensors[key] = _means_first(tensors[key])
    tensors["head.1.weight"] = _means_first(tensors["head.1.weight"])
    return tensors


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _means_first(values: Tensor) -> Tensor:
    return torch.cat([values[..., 1::2], values[..., 0::2]], dim=-1)


def read_bundle(index: bytes, data: bytes) -> dict[str, Tensor]:
    """Return the float32 tensors of a checkpoint of TensorFlow, by name.

    The index is a table of LevelDB: blocks of keys and values. A value is a protocol buffer with the place of a tensor.
    """
    footer = index[-48:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)
    tensors = {}
    for _, handle in _entries(index, footer[at:]):
        for key, value in _entries(index, handle):
            entry = dict(_fields(value))
            if key and entry.get(1) == 1:  # the number of float32
                shape = [dict(_fields(size)).get(1, 0) for number, size in _fields(entry[2]) if number == 2]
                begin = entry.get(4, 0)
                values = torch.frombuffer(bytearray(data[begin : begin + entry[5]]), dtype=torch.float32)
                tensors[key.decode()] = values.reshape(shape)
    return tensors


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _entries(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of the block of a table. A key leaves out what it shares with the key before it."""
    begin, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    block = index[begin : begin + size]
    end, at, key = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little"), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        size, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + size]
        at += rest + size


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the numbers and values of the fields of a protocol buffer."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            size = {5: 4, 1: 8}.get(tag & 7, 0)
            if tag & 7 == 2:
                size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        yield tag >> 3, value


if __name__ == "__main__":
    main()
