"""Read checkpoints of other projects. A checkpoint is data: reading it never runs code."""

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
    """The origin of weights, for the terminal, the log and the model card.

    Args:
        file: The file, or the hub id.
        sha256: SHA-256 of the file, in hexadecimal. Empty if it is not known.
        dropped: Keys of the file that were not used.
    """

    file: str
    sha256: str
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        first = f" ({', '.join(self.dropped[:3])}{', ...' if len(self.dropped) > 3 else ''})" if self.dropped else ""
        return f"{self.file}, sha256 {self.sha256 or 'unknown'}, {len(self.dropped)} keys left out{first}"


def provenance(path: str | Path, dropped: Sequence[str] = ()) -> Provenance:
    """Return the provenance of a file of weights."""
    return Provenance(str(path), file_digest(Path(path)), tuple(sorted(dropped)))


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


def read_checkpoint(path: str | Path, option: str) -> Checkpoint:
    """Read a safetensors file, or a PyTorch file with its tensors at the top or under "state_dict" or "model".

    Args:
        path: The file.
        option: Option of the user, for messages.

    Raises:
        UserError: the file is missing or cut off, or contains code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{option} {path}: no such file" if not path.is_dir() else f"{option} {path}: a folder, not a file"
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
        raise UserError(f"{option} {path}: contains no state dict")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return Checkpoint(state, extras | {key: value for key, value in content.items() if key not in state})


def read_state_dict(path: str | Path, option: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by key. Raises UserError."""
    return read_checkpoint(path, option).state


def without_prefix(state: Mapping[str, Tensor], landmark: str) -> dict[str, Tensor]:
    """Return the tensors without the prefix of a wrapper (DataParallel, ESPnet, speechbrain). Other keys stay.

    Args:
        state: Tensors by key.
        landmark: A key of the network. The part before it is the prefix.
    """
    prefixes = sorted((key.removesuffix(landmark) for key in state if key.endswith(landmark)), key=len)
    if not prefixes or not prefixes[0]:
        return dict(state)
    return {key.removeprefix(prefixes[0]): tensor for key, tensor in state.items()}


@contextmanager
def all_keys(where: str) -> Iterator[None]:
    """Turn the KeyError of a missing weight into a UserError that names the key."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]!r} is missing; is it another model, or a damaged file?") from error


def read_pickle(path: Path, option: str) -> Any:
    """Read a PyTorch file, as data only. Raises UserError."""
    with open(path, "rb") as file:
        head = file.read(16)
    if not head.startswith((b"PK", b"\x80")):  # a zip archive, or the pickle of older versions
        raise UserError(f"{option} {path}: not a PyTorch file, it begins with {head!r}; is it a saved web page?")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch raise different errors for a damaged file
        if "weights_only" in str(error) or "Unsupported" in str(error):
            message = "not loaded, since it contains code or objects besides tensors"
        else:
            message = f"damaged or cut off ({first_line(error)})"
        raise UserError(f"{option} {path}: {message}") from error
