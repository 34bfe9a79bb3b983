"""Loading of models in the Hugging Face layout, from a folder or a hub id, without running their code."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill.data.encoders.checkpoint import Provenance, provenance
from distill.data.errors import UserError, first_line
from distill.data.files import file_digest
from distill.data.fingerprint import digest

TORCHAUDIO_PAIR = "pip install 'torch>=2.12' 'torchaudio>=2.11.1,<2.12'"  # every pair of versions in these ranges works
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def import_transformers() -> Any:
    """Return the module transformers, imported without torchaudio if torchaudio cannot be loaded with this torch.

    transformers imports torchaudio whenever it is installed. Without it, its feature extractors compute with NumPy.
    """
    installed = "torchaudio" not in sys.modules and importlib.util.find_spec("torchaudio") is not None
    if installed and (fault := torchaudio_fault()):
        warnings.warn(f"{fault}; continuing without torchaudio", stacklevel=2)
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # Python then raises ImportError
        for known in ("is_torchaudio_available", "is_speech_available"):  # an earlier import may have cached the answer
            getattr(importlib.import_module("transformers.utils.import_utils"), known).cache_clear()
    return importlib.import_module("transformers")


def torchaudio_fault() -> str:
    """Return why torchaudio cannot be imported, with the pair to install, in one line; empty if it can be."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:  # OSError: this torch lacks a symbol
        return (
            f"torchaudio cannot be loaded ({first_line(error)}); a pair that matches: {TORCHAUDIO_PAIR}, "
            "both for the CPU alone or both for the same CUDA"
        )
    return ""


class Pretrained(NamedTuple):
    """A loaded checkpoint. Its parts are `Any`, because transformers does not type them usefully.

    Args:
        config: Configuration of the model.
        model: The network.
        extractor: Feature extractor. None means that the folder has none.
        missing: Weights that are missing in the file and therefore random.
        provenance: Where the weights come from.
    """

    config: Any
    model: Any
    extractor: Any
    missing: tuple[str, ...]
    provenance: Provenance


def load_pretrained(
    model_class: Any,
    checkpoint: str,
    revision: str | None,
    kinds: Sequence[str] = (),
    part: str = "",
    optional: Sequence[str] = (),
    file_hint: str = "",
) -> Pretrained:
    """Load a model of transformers in float32, without running any code that comes with it.

    Args:
        model_class: A class with `from_pretrained`.
        checkpoint: Folder, or hub id.
        revision: Commit of the hub id. None takes the newest.
        kinds: Accepted `model_type`s. Empty accepts any.
        part: Attribute of the configuration that belongs to the model, such as "audio_config". Empty takes it whole.
        optional: Prefixes of keys that may be missing in the file, such as those of a head.
        file_hint: What to do with a single file of weights, for the message that refuses it.

    Raises:
        UserError: the checkpoint is missing or of another model, or its weights are damaged or missing.
    """
    where = f"--teacher.checkpoint {checkpoint}"
    checkpoint = _folder_or_id(checkpoint, where, file_hint)
    transformers = import_transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{where}: not a transformers checkpoint ({first_line(error)})") from error
    if kinds and config.model_type not in kinds:
        raise UserError(f"{where}: a checkpoint of {config.model_type!r}; must be of {' or '.join(map(repr, kinds))}")
    config = getattr(config, part, config) if part else config
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                checkpoint,
                config=config,
                revision=revision,
                output_loading_info=True,
                trust_remote_code=False,
                weights_only=True,
                dtype=torch.float32,  # otherwise that of the file, and features are float32
            )
    except Exception as error:  # transformers, safetensors, pickle and zip raise different classes
        raise UserError(f"{where}: its weights cannot be read ({first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if random := [key for key in missing if not key.startswith(tuple(optional))]:
        raise UserError(f"{where}: {len(random)} weights are missing, the first is {random[0]!r}")
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(
            checkpoint, revision=revision, trust_remote_code=False
        )
    except ImportError as error:
        raise UserError(f"{where}: its feature extractor cannot be loaded: {torchaudio_fault() or error}") from error
    except (OSError, ValueError, KeyError):
        extractor = None
    origin = _provenance(checkpoint, revision, sorted(report["unexpected_keys"]))
    return Pretrained(config, model, extractor, tuple(missing), origin)


def _folder_or_id(checkpoint: str, where: str, file_hint: str) -> str:
    """Return the path of a folder with ~ expanded, or a hub id. Raise UserError for a file and for a missing folder."""
    path = Path(checkpoint).expanduser()
    if path.is_file():
        folder = path.parent
        hint = f"use its folder {folder}" if (folder / "config.json").is_file() else file_hint
        raise UserError(f"{where}: must be a folder or a hub id, not a file{f'; {hint}' if hint else ''}")
    if checkpoint.startswith((".", "/", "~")) and not path.is_dir():
        raise UserError(f"{where}: no such folder")
    return str(path) if checkpoint.startswith("~") else checkpoint


def _provenance(checkpoint: str, revision: str | None, dropped: Sequence[str]) -> Provenance:
    from transformers.utils.hub import cached_file

    for name in _WEIGHTS:
        try:
            if file := cached_file(checkpoint, name, revision=revision, _raise_exceptions_for_missing_entries=False):
                return provenance(file, dropped)
        except OSError:
            continue
    return Provenance(checkpoint, _digest_of_shards(checkpoint, revision), tuple(dropped))


def _digest_of_shards(checkpoint: str, revision: str | None) -> str:
    """Return one sha256 over the sha256 of all files in the index, sorted by name; "" without an index."""
    from transformers.utils.hub import cached_file

    for name in _WEIGHTS:
        try:
            index = cached_file(checkpoint, f"{name}.index.json", revision=revision)
        except OSError:
            continue
        shards = sorted(set(json.loads(Path(index).read_text())["weight_map"].values()))
        return digest([file_digest(Path(index).with_name(shard)) for shard in shards])
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and its table of keys, because our own message names missing keys."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
