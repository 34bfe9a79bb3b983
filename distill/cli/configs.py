"""Configuration files, read as data. A file that names a class requires the user's permission."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

import yaml

from distill.cli.components import COMPONENTS, import_path
from distill.data.errors import UserError

_MAX_BYTES, _MAX_ALIASES = 1 << 20, 100


def read_config(path: str, allowed: Collection[str]) -> str:
    """Read a YAML file of options.

    Args:
        path: Path of the file.
        allowed: Names of the packages whose classes the file may name.

    Returns:
        The options in JSON, with the import path of each component.

    Raises:
        UserError: the file cannot be read, does not hold a mapping, or names a class without permission.
    """
    config = _load(path)
    for component in COMPONENTS:
        if (written := config.get(component)) is not None:
            parts = written if isinstance(written, list) else [written]
            parts = [_resolve(component, part, path, allowed) for part in parts]
            config[component] = parts if isinstance(written, list) else parts[0]
    return json.dumps(config)


def _load(path: str) -> dict[str, Any]:
    """Read a mapping from a YAML file of limited size."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > _MAX_BYTES or text.count("*") > _MAX_ALIASES:
        raise UserError(f"--config {path}: too large, or too many aliases, for a configuration")
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"--config {path}: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: must hold options by name")
    return {name: _with_home(value) for name, value in config.items()}


def _with_home(value: Any) -> Any:
    """Replace "~/" at the start of texts by the home folder, as a shell does for options."""
    if isinstance(value, dict):
        return {name: _with_home(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_home(part) for part in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _resolve(component: str, written: Any, path: str, allowed: Collection[str]) -> Any:
    """Return a component of a file with the import path of its class, if the file may name it.

    A value without a class is not changed.
    """
    part = {"class_path": written} if isinstance(written, str) else written
    if not isinstance(part, dict) or "class_path" not in part:
        return part
    name = str(part["class_path"])
    package = name.partition(".")[0]
    if "." in name and package not in allowed and not COMPONENTS[component].is_trusted(name):
        raise UserError(
            f"--config {path} names the class {name!r}, whose code would run; if you trust it: --allow_import {package}"
        )
    spec = COMPONENTS[component].parse(part)
    return {"class_path": import_path(component, spec.name), "init_args": dict(spec.options)}
