"""Read checkpoints of other projects. A checkpoint is data: reading it never runs code.

A checkpoint is named by its file, or by FILE#PART if the file holds several sets of weights. PART is the key of one
set, such as "ema", or the start of the keys of its tensors, such as "net_swa".
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.data.encoders.pickles import read_pickle
from distill.data.errors import UserError, first_line, listed
from distill.data.files import file_digest

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")
_WRAPPERS = re.compile(r"(?:(?:module|model|net|network)\.)+(?=.)")
_COMPILED = "_orig_mod."  # torch.compile writes it into the keys of a network that it wraps


@dataclass(frozen=True)
class Provenance:
    """The origin of weights, for the terminal, the log and the model card.

    Args:
        file: The file with the part that was chosen, or the hub id.
        sha256: SHA-256 of the file, in hexadecimal. Empty if it is not known.
        dropped: Keys of the file that were not used.
    """

    file: str
    sha256: str
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        first = f" ({', '.join(self.dropped[:3])}{', ...' if len(self.dropped) > 3 else ''})" if self.dropped else ""
        return f"{self.file}, sha256 {self.sha256 or 'unknown'}, {len(self.dropped)} keys left out{first}"


def provenance(checkpoint: str | Path, dropped: Sequence[str] = ()) -> Provenance:
    """Return the provenance of a file of weights, named by FILE or FILE#PART."""
    return Provenance(str(checkpoint), file_digest(split_part(checkpoint)[0]), tuple(sorted(dropped)))


def split_part(checkpoint: str | Path) -> tuple[Path, str]:
    """Return the file and the part that FILE#PART names. The part is "" without one, or if a file has that name."""
    text = os.path.expanduser(checkpoint)
    file, _, part = text.rpartition("#")
    return (Path(file), part) if file and not Path(text).exists() else (Path(text), "")


def load_weights(network: nn.Module, state: Mapping[str, Tensor], where: str, ignore: Sequence[str] = ()) -> list[str]:
    """Copy weights into a network, all of them or none.

    Args:
        network: Its parameters and saved buffers must all be in `state`.
        state: Tensors by key.
        where: The option and value of the user, for messages.
        ignore: Glob patterns of keys of the network that may be missing in `state`.

    Returns:
        Keys of `state` that are not in the network.

    Raises:
        UserError: a key is missing, or has another shape.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not any(fnmatch(key, glob) for glob in ignore)]
    if missing:
        raise UserError(f"{where}: {len(missing)} of {len(expected)} weights are missing, {missing[0]!r} first")
    for key in expected.keys() & state.keys():
        if state[key].shape != expected[key].shape:
            shapes = f"{tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
            raise UserError(f"{where}: {key!r} has shape {shapes}")
        if expected[key].is_floating_point() and not state[key].is_floating_point():
            raise UserError(f"{where}: {key!r} has dtype {state[key].dtype}; quantised weights are not supported")
    network.load_state_dict({key: state[key] for key in expected if key in state}, strict=False)
    return sorted(state.keys() - expected.keys())


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Args:
        state: Tensors by key.
        extras: Other values, such as a configuration or labels.
    """

    state: dict[str, Tensor]
    extras: dict[str, Any]


def read_checkpoint(checkpoint: str | Path, option: str) -> Checkpoint:
    """Read a safetensors file or a PyTorch file. Weights of less than 32 bits become float32.

    The tensors lie at the top or in a mapping, such as "state_dict", "model" or "ema". If several mappings hold
    tensors, one with a usual name is taken, and a warning names the others.

    Args:
        checkpoint: FILE or FILE#PART.
        option: Option of the user, for messages.

    Raises:
        UserError: the file is missing or cut off, contains code, or holds no weights or several sets of them.
    """
    path, part = split_part(checkpoint)
    if not path.is_file():
        raise UserError(
            f"{option} {path}: no such file" if not path.is_dir() else f"{option} {path}: a folder, not a file"
        )
    content: Any
    if path.suffix == ".safetensors":
        try:
            content = load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{option} {path}: damaged or cut off ({first_line(error)})") from error
    else:
        content = read_pickle(path, option)
    found, extras = _find_weights(content, part, f"{option} {path}")
    state = {str(key).replace(_COMPILED, ""): _in_float32(value) for key, value in found.items()}
    return Checkpoint(state, extras)


def _find_weights(content: Any, part: str, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a checkpoint by key, and the values beside them."""
    extras: dict[str, Any] = {}
    while isinstance(content, Mapping) and (name := _chosen_set(content, part, where)):
        extras |= {str(key): value for key, value in content.items() if key != name}
        content, part = content[name], "" if name == part else part
    values = dict(content) if isinstance(content, Mapping) else {}
    tensors = {str(key): value for key, value in values.items() if isinstance(value, Tensor)}
    extras |= {str(key): value for key, value in values.items() if str(key) not in tensors}
    if not tensors:
        keys = f"; its keys are {_listed([str(key) for key in extras])}" if extras else ""
        raise UserError(f"{where}: contains no state dict{keys}")
    if part:
        tensors = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
        if not tensors:
            starts = dict.fromkeys(key.partition(".")[0] for key in values)
            raise UserError(f"{where}#{part}: no weights under {part!r}; there are {_listed([*starts, *extras])}")
    return tensors, extras


def _chosen_set(content: Mapping[Any, Any], part: str, where: str) -> str:
    """Return the key of the mapping whose tensors are read. Empty: those of `content` itself. Raises UserError."""
    sets = {str(key): value for key, value in content.items() if _holds_tensors(value)}
    if part in sets:
        return part
    usual = [name for name in _CONTAINERS if name in sets]
    if not usual and any(isinstance(value, Tensor) for value in content.values()):
        return ""
    if not usual and len(sets) > 1:
        raise UserError(f"{where}: holds the weights {_listed(list(sets))}; choose one: {where}#{next(iter(sets))}")
    chosen = (usual or list(sets) or [""])[0]
    if not part:
        _note_choice(chosen, [name for name in sets if 2 * len(sets[name]) > len(sets[chosen])], where)
    return chosen


def _holds_tensors(value: Any) -> bool:
    """Return whether a value is a mapping of tensors, or of such a mapping under a usual name."""
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(item, Tensor) or (key in _CONTAINERS and _holds_tensors(item)) for key, item in value.items())


def _note_choice(chosen: str, found: Sequence[str], where: str) -> None:
    """Warn if the file holds other weights than those that were chosen, and state how to choose them."""
    if others := [name for name in found if name != chosen]:
        warnings.warn(
            f"{where}: holds several sets of weights; {chosen or 'the one without a prefix'!r} is used. "
            f"To use {_listed(others)}: {where}#{others[0]}",
            stacklevel=2,
        )


def _listed(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], 6)


def _in_float32(tensor: Tensor) -> Tensor:
    """Return a tensor of float16, bfloat16 or float8 as float32; another one unchanged."""
    return tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor


def read_state_dict(checkpoint: str | Path, option: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by key. Raises UserError."""
    return read_checkpoint(checkpoint, option).state


def without_prefix(state: Mapping[str, Tensor], landmark: str, where: str) -> dict[str, Tensor]:
    """Return the tensors without the prefix of a wrapper (DataParallel, ESPnet, speechbrain). Other keys stay.

    If the landmark has several prefixes, the shortest one is removed, and a warning names the others.

    Args:
        state: Tensors by key.
        landmark: A key of the network. The part before it is the prefix.
        where: The option and value of the user, for the warning.
    """
    found = [key.removesuffix(landmark) for key in state if f".{key}".endswith(f".{landmark}")]
    prefix = choose_prefix(found, where)
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def choose_prefix(prefixes: Sequence[str], where: str) -> str:
    """Return the shortest prefix of a landmark, "" without any. Warn if there are others.

    Args:
        prefixes: Parts of keys before the landmark.
        where: The option and value of the user, for the warning.
    """
    names = sorted(prefixes, key=lambda name: (len(name), name)) or [""]
    _note_choice(names[0].rstrip("."), [name.rstrip(".") for name in names[1:]], where.partition("#")[0])
    return names[0]


def without_wrappers(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the tensors without the names that programs give the whole network: "module.", "model." and "net.".

    Args:
        state: Tensors by key.
        where: The option and value of the user, for messages.

    Raises:
        UserError: two tensors get the same key, since the file holds two networks.
    """
    renamed: dict[str, str] = {}
    for key in state:
        name = _WRAPPERS.sub("", key, count=1) if _WRAPPERS.match(key) else key
        if name in renamed:
            first = renamed[name].partition(".")[0]
            raise UserError(f"{where}: holds the weights {renamed[name]!r} and {key!r}; choose one: {where}#{first}")
        renamed[name] = key
    return {name: state[key] for name, key in renamed.items()}


@contextmanager
def all_keys(where: str) -> Iterator[None]:
    """Turn the KeyError of a missing weight into a UserError that names the key."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]!r} is missing; is it another model, or a damaged file?") from error
