"""The converter of musicnn's checkpoint, on a checkpoint that the test writes."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

CONVERTER = Path(__file__).parents[2] / "tools" / "convert_musicnn.py"


@pytest.fixture(scope="module")
def converter() -> dict[str, Any]:
    return runpy.run_path(str(CONVERTER))


def varint(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    return bytes([value & 127 | 128]) + varint(value >> 7)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a table, whose keys leave out what they share with the key before."""
    body, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key))
        )
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return body + struct.pack("<II", 0, 1)  # one restart, at 0


def handle(begin: int, size: int) -> bytes:
    return varint(begin) + varint(size)


def bundle(tensors: dict[str, torch.Tensor]) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint with float32 tensors."""
    entries, data = [(b"", b"\x08\x01")], b"other"
    for name in sorted(tensors):
        raw = tensors[name].numpy().tobytes()
        sizes = b"".join(
            b"\x12" + varint(len(size)) + size for size in (b"\x08" + varint(n) for n in tensors[name].shape)
        )
        place = b"\x08\x01\x12" + varint(len(sizes)) + sizes + b"\x20" + varint(len(data)) + b"\x28" + varint(len(raw))
        entries.append((name.encode(), place + b"\x35" + struct.pack("<I", 7)))  # a checksum of four bytes
        data += raw
    entries.append((b"~number", b"\x08\x09\x20\x00\x28\x08"))  # of another type
    table = block(entries)
    index = block([(b"~", handle(0, len(table)))])
    footer = handle(0, 0) + handle(len(table) + 5, len(index))
    return table + bytes(5) + index + bytes(5) + footer.ljust(48, b"\x00"), data


def test_tensors_are_read_with_their_shapes(converter: dict[str, Any]) -> None:
    tensors = {"dense/bias": torch.randn(3), "dense/kernel": torch.randn(200, 3), "other": torch.randn(2, 1, 4)}
    read = converter["read_bundle"](*bundle(tensors))
    assert read.keys() == tensors.keys()
    assert all(read[name].equal(tensors[name]) for name in tensors)


def test_pairs_of_maximum_and_mean_become_all_means_then_all_maxima(converter: dict[str, Any]) -> None:
    pairs = torch.tensor([[10.0, 1.0, 20.0, 2.0, 30.0, 3.0]])
    assert converter["_means_first"](pairs).tolist() == [[1, 2, 3, 10, 20, 30]]
