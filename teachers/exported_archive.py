"""Read a file of torch.export (.pt2) as data: a graph in JSON, and tensors as bytes. Nothing in it is unpickled.

`torch.export.load` is not used: it unpickles the sample inputs and objects, and evaluates the sizes in the graph as
Python. The layout of the archive is that of torch/export/pt2_archive, and its fields are those of
torch/_export/serde/schema.py (schema 8).
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distill.data.errors import UserError, first_line

SCHEMA = 8  # the major version, within which newer files can be read
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 9: torch.complex32, 10: torch.complex64, 11: torch.complex128, 12: torch.bool,
    13: torch.bfloat16,
}  # fmt: skip
STRIDED = 7  # the layout of an ordinary tensor
_MODEL = re.compile(r"models/[^/]+\.json")
_SAMPLES = re.compile(r"data/sample_inputs/[^/]+\.pt")
_EXTRA = "extra/"
_KNOWN = re.compile(
    r"data/(weights|constants)/((weight|tensor)_\d+|[^/]+_(weights|constants)_config\.json)"
    r"|extra/.*|archive_format|archive_version|byteorder|\.data/[^/]+|\.format_version|\.storage_alignment"
)


class Archive(NamedTuple):
    """The content of a file.

    Args:
        model: The graph and what is known about it, as in JSON.
        tensors: Weights and constants by name.
        extra: Texts that were saved beside the graph, by name.
    """

    model: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    extra: Mapping[str, str]


def read_archive(path: Path, where: str) -> Archive:
    """Read a file of torch.export.

    Args:
        path: The file.
        where: The option and value of the user, for messages.

    Raises:
        UserError: the file is another one, damaged, of another version, or has code or pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, where)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{where}: is not a file of torch.export, or is cut off ({first_line(error)})") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{where}: is damaged, or no file of torch.export ({first_line(error)})") from error


def _read(archive: zipfile.ZipFile, where: str) -> Archive:
    members = {name.partition("/")[2]: name for name in archive.namelist() if not name.endswith("/")}
    models = [name for name in members if _MODEL.fullmatch(name)]
    _refuse_others(archive, members, models, where)
    if archive.read(members["byteorder"]).strip() != b"little":
        raise UserError(f"{where}: has numbers in big-endian order, which is not supported")
    model = json.loads(archive.read(members[models[0]]))
    if model["schema_version"]["major"] != SCHEMA:
        versions = f"{model['schema_version']['major']} of torch {model.get('torch_version', '?')}"
        raise UserError(f"{where}: has schema {versions}; only schema {SCHEMA} is supported: export it again")
    name = models[0].removeprefix("models/").removesuffix(".json")
    tensors: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        listed = json.loads(archive.read(members[f"data/{kind}/{name}_{kind}_config.json"]))["config"]
        for key, entry in listed.items():
            if entry["use_pickle"] or entry["tensor_meta"] is None:
                raise UserError(f"{where}: {key!r} is a pickled object, which is not opened")
            tensors[key] = _tensor(archive.read(members[f"data/{kind}/{entry['path_name']}"]), entry["tensor_meta"])
    extra = {
        member.removeprefix(_EXTRA): archive.read(file).decode(errors="replace")
        for member, file in members.items()
        if member.startswith(_EXTRA)
    }
    return Archive(model, tensors, extra)


def _refuse_others(archive: zipfile.ZipFile, members: Mapping[str, str], models: list[str], where: str) -> None:
    """Raise UserError unless the members are one graph, its tensors, and samples of its input that are tensors too."""
    if any(name.startswith("code/") for name in members):
        raise UserError(f"{where}: is TorchScript, which is code; export it by torch.export.save")
    if "serialized_exported_program.json" in archive.namelist():
        raise UserError(f"{where}: has pickled weights, as torch 2.7 wrote them; save it again by a newer torch")
    if not models:
        raise UserError(f"{where}: is not a file of torch.export, or is cut off: it has no graph")
    if len(models) > 1:
        raise UserError(f"{where}: has {len(models)} graphs ({', '.join(models)}); one is supported")
    for name, file in members.items():
        if _SAMPLES.fullmatch(name):
            _refuse_objects(archive.read(file), name, where)
        elif not _KNOWN.fullmatch(name) and name not in models:
            raise UserError(f"{where}: holds {name}, which is code or a pickled object, and is not opened")


def _refuse_objects(content: bytes, name: str, where: str) -> None:
    """Raise UserError if sample inputs are other objects than tensors. They are not unpickled, only scanned."""
    if not content:
        return
    try:
        objects = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception as error:  # the scan of a hostile pickle may fail anyhow
        raise UserError(f"{where}: {name} holds pickled objects besides tensors ({first_line(error)})") from error
    if objects:
        raise UserError(f"{where}: {name} holds pickled objects besides tensors ({', '.join(sorted(objects))})")


def _tensor(content: bytes, stated: Mapping[str, Any]) -> Tensor:
    """Return a tensor of its bytes."""
    if stated["layout"] != STRIDED:
        raise ValueError(f"a tensor has layout {stated['layout']}, which is not strided")
    dtype = DTYPES[stated["dtype"]]
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
    sizes, strides = ([size["as_int"] for size in stated[name]] for name in ("sizes", "strides"))
    return flat.as_strided(sizes, strides, stated["storage_offset"]["as_int"])
