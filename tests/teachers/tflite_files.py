"""Tiny TensorFlow Lite files: the waveform becomes frames of 20 ms by one convolution, and their mean is the clip.

LiteRT computes them if it is installed (`make tflite`). Otherwise a stand-in with its interface computes the same
tensors: it does not interpret the file, but reads from the description of the file what the file is.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import torch
from flatbuffers import number_types

from distill.teachers.tflite_metadata import _Table
from tests.teachers.onnx_files import DIM, HOP, RATE, WINDOW, expected_frames, filters

TYPES = {"float32": 0, "int32": 2, "bool": 6, "int16": 7, "complex64": 8}  # TensorType
RESHAPE, CONVOLUTION, MEAN, LOG, CUSTOM = 22, 3, 40, 73, 32  # BuiltinOperator


class Offset(NamedTuple):
    """A table, text or vector that was written before."""

    at: int


Value = Offset | tuple[str, int] | None
NUMBERS = {"byte": number_types.Int8Flags, "int": number_types.Int32Flags, "uint": number_types.Uint32Flags}


class Writer:
    """Writes FlatBuffers."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(self, *fields: Value) -> Offset:
        self.builder.StartObject(len(fields))
        for slot, value in enumerate(fields):
            if isinstance(value, Offset):
                self.builder.PrependUOffsetTRelativeSlot(slot, value.at, 0)
            elif value is not None:
                self.builder.PrependSlot(NUMBERS[value[0]], slot, value[1], None)
        return Offset(self.builder.EndObject())

    def text(self, text: str) -> Offset:
        return Offset(self.builder.CreateString(text))

    def numbers(self, values: Sequence[int]) -> Offset:
        return Offset(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def content(self, content: bytes) -> Offset:
        self.builder.StartVector(1, len(content), 16)  # LiteRT reads weights in place
        self.builder.head -= len(content)
        self.builder.Bytes[self.builder.head : self.builder.head + len(content)] = content
        return Offset(self.builder.EndVector())

    def tables(self, tables: Sequence[Offset]) -> Offset:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table.at)
        return Offset(self.builder.EndVector())

    def finish(self, root: Offset, identifier: bytes) -> bytes:
        self.builder.Finish(root.at, file_identifier=identifier)
        return bytes(self.builder.Output())


def stated(sample_rate: int | None, labels: str | None, licence: str | None) -> bytes:
    """Return the metadata of a file, as TensorFlow Lite Support writes them."""
    writer = Writer()
    sound = None
    if sample_rate is not None:
        content = writer.table(("byte", 4), writer.table(("uint", sample_rate), ("uint", 1)))
        sound = writer.tables([writer.table(None, None, None, content)])
    files = None
    if labels is not None:
        name = writer.text(labels)
        tensor = writer.table(
            None, None, None, None, None, None, writer.tables([writer.table(name, None, ("byte", 2))])
        )
        files = writer.tables([tensor])
    graph = writer.tables([writer.table(None, None, sound, files)])
    text = None if licence is None else writer.text(licence)
    return writer.finish(writer.table(None, None, None, graph, None, text), b"M001")


class Tensors:
    """The tensors of a file in their order, and the buffers that hold constants."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.names: list[str] = []
        self.tables: list[Offset] = []
        self.buffers = [writer.table(None)]  # the first one is empty: that of tensors that are computed

    def add(self, name: str, kind: str, sizes: Sequence[int], buffer: int = 0) -> None:
        fixed = self.writer.numbers([max(1, size) for size in sizes])
        signature = self.writer.numbers(sizes)
        self.names.append(name)
        self.tables.append(
            self.writer.table(
                fixed, ("byte", TYPES[kind]), ("uint", buffer), self.writer.text(name), None, None, None,
                signature if min(sizes, default=1) < 0 else None,
            )
        )  # fmt: skip

    def buffer(self, content: bytes) -> int:
        """Add a buffer, and return its number."""
        self.buffers.append(self.writer.table(self.writer.content(content)))
        return len(self.buffers) - 1

    def constant(self, name: str, value: np.ndarray) -> None:
        self.add(name, value.dtype.name, value.shape, self.buffer(value.tobytes()))

    def numbers(self, names: Sequence[str]) -> Offset:
        """Return the numbers of tensors."""
        return self.writer.numbers([self.names.index(name) for name in names])


def operators_of(tensors: Tensors, last: int | str) -> list[Offset]:
    """Return the operators from the waveform to the clip, whose operator is `last`."""
    writer = tensors.writer
    convolution = writer.table(("byte", 1), ("int", HOP), ("int", 1), ("byte", 1), ("int", 1), ("int", 1))
    mean = writer.table(("byte", 0)) if last == MEAN else None

    def operator(code: int, inputs: Sequence[str], output: str, kind: int, options: Offset | None) -> Offset:
        given = tensors.numbers(inputs), tensors.numbers([output])
        return writer.table(("uint", code), *given, ("byte", kind), options)

    return [
        operator(0, ["waveform", "as_images"], "images", 0, None),
        operator(1, ["images", "filters", "bias"], "maps", 1, convolution),
        operator(0, ["maps", "as_frames"], "frames", 0, None),
        operator(2, ["frames", "axis"] if mean else ["frames"], "clip", 27 if mean else 0, mean),
    ]


def build(
    shape: tuple[int, int] = (1, -1), kind: str = "float32", metadata: bytes = b"",
    labels: Mapping[str, str] | None = None, others: Mapping[str, str] | None = None, last: int | str = MEAN,
    version: int = 1, external: bool = False,
) -> bytes:  # fmt: skip
    """Return a file. Its tensors are waveform, frames and clip, and those of `others`, by name and type.

    Args:
        shape: Of the input. -1: free.
        kind: Type of the input.
        metadata: The result of `stated`.
        labels: Attached files: name and text.
        others: Further inputs of one number.
        last: The operator of the clip: a built-in one, or the name of a custom one.
        version: Version of the operators.
        external: The weights lie in another file.
    """
    writer = Writer()
    rows, samples = shape
    steps = -1 if samples < 0 else (samples - WINDOW) // HOP + 1
    tensors = Tensors(writer)
    tensors.constant("as_images", np.array([rows, 1, samples, 1], np.int32))
    tensors.constant("filters", filters().reshape(DIM, 1, WINDOW, 1).numpy())
    tensors.constant("bias", np.zeros(DIM, np.float32))
    tensors.constant("as_frames", np.array([rows, steps, DIM], np.int32))
    tensors.constant("axis", np.array([1], np.int32))
    for name, other in (others or {}).items():
        tensors.add(name, other, (1,))
    tensors.add("waveform", kind, shape)
    tensors.add("images", "float32", (rows, 1, samples, 1))
    tensors.add("maps", "float32", (rows, 1, steps, DIM))
    tensors.add("frames", "float32", (rows, steps, DIM))
    tensors.add("clip", "float32", (rows, DIM) if last == MEAN else (rows, steps, DIM))
    custom = isinstance(last, str)
    end = CUSTOM if custom else int(last)
    code = [
        writer.table(("byte", number), writer.text(str(last)), ("int", version), ("int", number))
        for number in (RESHAPE, CONVOLUTION, end)
    ]
    inputs, outputs = tensors.numbers([*(others or {}), "waveform"]), tensors.numbers(["frames", "clip"])
    operators = writer.tables(operators_of(tensors, last))
    graph = writer.table(writer.tables(tensors.tables), inputs, outputs, operators)
    entries = None
    if metadata:
        number = tensors.buffer(metadata)
        entries = writer.tables([writer.table(writer.text("TFLITE_METADATA"), ("uint", number))])
    description = {
        "shape": shape, "kind": kind, "others": dict(others or {}), "nan": last == LOG,
        "too_new": version > 9, "custom": last if custom else "",
    }  # fmt: skip
    elsewhere = writer.tables([writer.table(writer.text("w.bin"))]) if external else None
    model = writer.table(
        ("uint", 3), writer.tables(code), writer.tables([graph]), writer.text(json.dumps(description)),
        writer.tables(tensors.buffers), None, entries, None, elsewhere,
    )  # fmt: skip
    return writer.finish(model, b"TFL3") + attached(labels or {})


def attached(files: Mapping[str, str]) -> bytes:
    """Return an archive of texts by name, which a file may end with. Empty without texts."""
    content = io.BytesIO()
    if files:
        with zipfile.ZipFile(content, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    return content.getvalue()


def save(folder: Path, content: bytes, name: str = "tiny.tflite") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


class StandIn:
    """The interface of LiteRT's interpreter, for the files of `build`."""

    def __init__(self, model_content: bytes, num_threads: int, experimental_preserve_all_tensors: bool) -> None:
        try:
            self.file = json.loads(_Table.root(model_content).text(10))
        except Exception as error:
            raise ValueError("The model is not a valid Flatbuffer buffer") from error
        if self.file["too_new"]:
            raise ValueError("Didn't find op for builtin opcode 'RESHAPE' version '99'.")
        self.keeps_all = experimental_preserve_all_tensors
        signatures = {
            **{name: ((1,), kind) for name, kind in self.file["others"].items()},
            "waveform": (tuple(self.file["shape"]), self.file["kind"]),
            "images": ((1, 1, -1, 1), "float32"), "frames": ((1, -1, DIM), "float32"), "clip": ((1, DIM), "float32"),
        }  # fmt: skip
        self.details = [
            {"name": name, "index": 7 + index, "dtype": np.dtype(kind).type, "shape": np.abs(shape),
             "shape_signature": np.array(shape)}
            for index, (name, (shape, kind)) in enumerate(signatures.items())
        ]  # fmt: skip
        self.names = {int(detail["index"]): str(detail["name"]) for detail in self.details}
        self.values: dict[str, Any] = {}
        self.shape: tuple[int, ...] = tuple(map(abs, self.file["shape"]))

    def allocate_tensors(self) -> None:
        if self.file["custom"]:
            raise RuntimeError(f"Encountered unresolved custom op: {self.file['custom']}.")
        if not all(size in (given, -1) for size, given in zip(self.file["shape"], self.shape, strict=True)):
            raise RuntimeError("num_input_elements != num_output_elements")

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return self.details

    def get_input_details(self) -> list[dict[str, Any]]:
        return self.details[:-3]

    def get_output_details(self) -> list[dict[str, Any]]:
        return self.details[-2:]

    def resize_tensor_input(self, index: int, shape: Sequence[int]) -> None:
        assert self.names[index] == "waveform"
        self.shape = tuple(shape)

    def set_tensor(self, index: int, value: Any) -> None:
        name = self.names[index]
        if name == "waveform" and value.shape != self.shape:
            raise ValueError("Cannot set tensor: Dimension mismatch")
        assert value.dtype == (self.file["others"] | {"waveform": self.file["kind"]})[name]
        self.values[name] = value

    def invoke(self) -> None:
        waveform = self.values["waveform"]
        if len(self.values) < len(self.get_input_details()):
            raise RuntimeError("an input has no value")
        frames = expected_frames(torch.from_numpy(waveform))
        clip = frames.mul(-1).log() if self.file["nan"] else frames.mean(1)
        self.values |= {"images": waveform[:, None, :, None], "frames": frames.numpy(), "clip": clip.numpy()}

    def get_tensor(self, index: int) -> Any:
        name = self.names[index]
        if name == "images" and not self.keeps_all:
            raise ValueError("Tensor data is null")
        return self.values[name]


if find_spec("ai_edge_litert") is None:
    package, module = ModuleType("ai_edge_litert"), ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = StandIn  # type: ignore[attr-defined]
    sys.modules |= {"ai_edge_litert": package, "ai_edge_litert.interpreter": module}

__all__ = ["DIM", "HOP", "LOG", "RATE", "build", "expected_frames", "save", "stated"]
