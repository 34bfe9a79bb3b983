"""Read what a TensorFlow Lite file states about its sound: sample rate, labels, licence.

The positions of the fields are those of schema.fbs (LiteRT) and of metadata_schema.fbs (TensorFlow Lite Support 0.4.4).
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from distill.data.errors import UserError, first_line

ATTACHED = "audio_distill.json"  # the file of `distill export`, with text by name
_BUFFERS, _METADATA, _EXTERNAL = 12, 16, 20  # of Model
_NAME, _BUFFER = 4, 6  # of Metadata
_DATA = 4  # of Buffer
_SUBGRAPHS, _LICENCE = 10, 14  # of ModelMetadata
_INPUTS, _OUTPUTS = 8, 10  # of SubGraphMetadata
_CONTENT, _FILES = 10, 16  # of TensorMetadata
_KIND, _PROPERTIES = 4, 6  # of Content
_FILE_NAME, _FILE_KIND = 4, 8  # of AssociatedFile
_RATE = 4  # of AudioProperties
_AUDIO, _AXIS_LABELS = 4, 2  # values of _KIND and of _FILE_KIND
_MAX_LICENCE = 200  # characters; a longer one is the text of the licence, not its name


class _Table:
    """A table of a FlatBuffers file."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @classmethod
    def root(cls, content: bytes) -> _Table:
        import flatbuffers
        from flatbuffers.table import Table

        return cls(Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)))

    def has(self, field: int) -> bool:
        return bool(self._table.Offset(field))

    def _position(self, field: int) -> int:
        return int(self._table.Pos + self._table.Offset(field))

    def text(self, field: int) -> str:
        return self._table.String(self._position(field)).decode() if self.has(field) else ""

    def number(self, field: int, flags: str) -> int:
        from flatbuffers import number_types

        return int(self._table.Get(getattr(number_types, flags), self._position(field))) if self.has(field) else 0

    def table(self, field: int) -> _Table:
        return self._at(self._table.Indirect(self._position(field)))

    def tables(self, field: int) -> Iterator[_Table]:
        if self.has(field):
            offset = self._table.Offset(field)
            start = self._table.Vector(offset)
            for index in range(self._table.VectorLen(offset)):
                yield self._at(self._table.Indirect(start + 4 * index))

    def content(self, field: int) -> bytes:
        if not self.has(field):
            return b""
        offset = self._table.Offset(field)
        start = self._table.Vector(offset)
        return bytes(self._table.Bytes[start : start + self._table.VectorLen(offset)])

    def _at(self, position: int) -> _Table:
        return _Table(type(self._table)(self._table.Bytes, position))


def read_metadata(content: bytes, where: str) -> dict[str, str]:
    """Return the sample rate, the labels and the licence that a file states, as `GraphFacts.of` reads them.

    A file of `distill export` states all that `GraphFacts` has.

    Args:
        content: The file, which the runtime has verified.
        where: The option and value of the user, for messages.

    Raises:
        UserError: the metadata are damaged, or the weights lie in other files.
    """
    try:
        model = _Table.root(content)
        if any(model.tables(_EXTERNAL)):
            raise UserError(f"{where}: its weights lie in other files, which is not supported")
        buffers = [entry.number(_BUFFER, "Uint32Flags") for entry in _named(model, "TFLITE_METADATA")]
        if not buffers:
            return _attached(content)
        stated = _Table.root(list(model.tables(_BUFFERS))[buffers[0]].content(_DATA))
        return dict(_found(stated, content))
    except (struct.error, IndexError, KeyError, ValueError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise UserError(f"{where}: its metadata cannot be read ({first_line(error)})") from error


def _attached(content: bytes) -> dict[str, str]:
    """Return the metadata that `distill export` attached, if any."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as attached:
        if ATTACHED not in attached.namelist():
            return {}
        return {str(name): str(text) for name, text in json.loads(attached.read(ATTACHED)).items()}


def _named(model: _Table, name: str) -> Iterator[_Table]:
    return (entry for entry in model.tables(_METADATA) if entry.text(_NAME) == name)


def _found(stated: _Table, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield names and values of what the metadata state."""
    licence = " ".join(stated.text(_LICENCE).split())
    if licence and len(licence) <= _MAX_LICENCE:
        yield "licence", licence
    for graph in list(stated.tables(_SUBGRAPHS))[:1]:
        for tensor in graph.tables(_INPUTS):
            sound = tensor.table(_CONTENT) if tensor.has(_CONTENT) else None
            if sound is not None and sound.number(_KIND, "Uint8Flags") == _AUDIO:
                yield "sample_rate", str(sound.table(_PROPERTIES).number(_RATE, "Uint32Flags") or "")
        names = [
            file.text(_FILE_NAME)
            for tensor in graph.tables(_OUTPUTS)
            for file in tensor.tables(_FILES)
            if file.number(_FILE_KIND, "Int8Flags") == _AXIS_LABELS
        ]
        if len(names) == 1:  # the labels of several outputs cannot be told apart
            with zipfile.ZipFile(io.BytesIO(content)) as attached:  # which follows the graph
                yield "labels", json.dumps(attached.read(names[0]).decode().splitlines())
