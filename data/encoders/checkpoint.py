"""Reading weights that somebody else has written: a checkpoint is data and never runs code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.data.errors import UserError, first_line
from distill.data.files import file_digest


@dataclass(frozen=True)
class Provenance:
    """Where weights came from: what the terminal, the log and the model card say of them.

    Args:
        file: The file, or the hub id.
        sha256: Of the file, in hexadecimal; empty where it is not known.
        dropped: Keys in the file that were not used.
    """

    file: str
    sha256: str
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        first = f" ({', '.join(self.dropped[:3])}{', ...' if len(self.dropped) > 3 else ''})" if self.dropped else ""
        return f"{self.file}, sha256 {self.sha256 or 'unknown'}, {len(self.dropped)} keys left out{first}"


def provenance(path: str | Path, dropped: Sequence[str] = ()) -> Provenance:
    """Provenance of weights read from a file."""
    return Provenance(str(path), file_digest(Path(path)), tuple(sorted(dropped)))


def load_weights(network: nn.Module, state: Mapping[str, Tensor], where: str, ignore: Sequence[str] = ()) -> list[str]:
    """Copy weights into a network, all of them or none.

    Args:
        network: Every parameter and saved buffer of it must be in `state`.
        state: Tensors by key.
        where: What the user gave, for messages.
        ignore: Globs of keys of the network that the file may lack.

    Returns:
        Keys of `state` that the network has not.

    Raises:
        UserError: a key is missing, or has another shape.
    """
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not any(fnmatch(key, glob) for glob in ignore)]
    if missing:
        raise UserError(f"{where}: {len(missing)} of {len(wanted)} weights are missing, {missing[0]!r} first")
    for key in wanted.keys() & state.keys():
        if state[key].shape != wanted[key].shape:
            shapes = f"{tuple(state[key].shape)}, not {tuple(wanted[key].shape)}"
            raise UserError(f"{where}: {key!r} has shape {shapes}")
    network.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    return sorted(state.keys() - wanted.keys())


class Checkpoint(NamedTuple):
    """What a file holds.

    Args:
        state: Tensors by key.
        extras: What lies beside them, such as a configuration or labels.
    """

    state: dict[str, Tensor]
    extras: dict[str, Any]


def read_checkpoint(path: str | Path, option: str) -> Checkpoint:
    """Tensors by key, from a safetensors file or a PyTorch one (bare, or under "state_dict" or "model").

    Args:
        path: The file.
        option: How the user named it, for messages.

    Raises:
        UserError: missing, cut off, or holding anything but data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{option} {path}: no such file" if not path.is_dir() else f"{option} {path}: a folder, no file"
        )
    if path.suffix == ".safetensors":
        try:
            return Checkpoint(load_file(path), {})
        except (SafetensorError, OSError) as error:
            raise UserError(f"{option} {path}: damaged or cut off ({first_line(error)})") from error
    content = read_pickle(path, option)
    extras: dict[str, Any] = {}
    for nested in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(nested), Mapping):
            extras |= {key: value for key, value in content.items() if key != nested}
            content = content[nested]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{option} {path}: no state dict in it")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return Checkpoint(state, extras | {key: value for key, value in content.items() if key not in state})


def read_state_dict(path: str | Path, option: str) -> dict[str, Tensor]:
    """Tensors by key, as `read_checkpoint` finds them. Raises UserError."""
    return read_checkpoint(path, option).state


def without_prefix(state: Mapping[str, Tensor], landmark: str) -> dict[str, Tensor]:
    """The same tensors with keys as the network's author wrote them, whatever a wrapper (DataParallel, ESPnet,
    speechbrain) has put before them; keys without that prefix keep theirs.

    Args:
        state: Tensors by key.
        landmark: A key of the network, by which the prefix is found.
    """
    prefixes = sorted((key.removesuffix(landmark) for key in state if key.endswith(landmark)), key=len)
    if not prefixes or not prefixes[0]:
        return dict(state)
    return {key.removeprefix(prefixes[0]): tensor for key, tensor in state.items()}


@contextmanager
def all_keys(where: str) -> Iterator[None]:
    """Says in one line which key a network was looked for under, and not found. Raises UserError."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]!r} is not in it; another model, or a damaged file?") from error


def read_pickle(path: Path, option: str) -> Any:
    """A PyTorch file, as data only. Raises UserError."""
    with open(path, "rb") as file:
        head = file.read(16)
    if not head.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as older versions wrote it
        raise UserError(
            f"{option} {path}: no PyTorch file, it begins with {head!r}; was a web page saved in its place?"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own for a damaged file
        if "weights_only" in str(error) or "Unsupported" in str(error):
            message = "it holds code or objects beside tensors, and is not loaded for that"
        else:
            message = f"damaged or cut off ({first_line(error)})"
        raise UserError(f"{option} {path}: {message}") from error
