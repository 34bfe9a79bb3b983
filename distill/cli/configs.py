"""Configuration files, read as data: a file that names a class needs the user's permission."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import yaml

from distill.cli.names import COMPONENTS, import_path
from distill.data.errors import UserError

_MAX_BYTES, _MAX_ALIASES = 1 << 20, 100


def read_config(path: str, allowed: Collection[str]) -> str:
    """Read a YAML file of options.

    Args:
        path: The file.
        allowed: Packages whose classes the file may name.

    Returns:
        The options in JSON, with the import paths of its components.

    Raises:
        UserError: the file cannot be read, holds no mapping, or names a class without permission.
    """
    config = _load(path)
    for component in COMPONENTS:
        if (written := config.get(component)) is not None:
            named = [
                _named(component, one, path, allowed) for one in (written if isinstance(written, list) else [written])
            ]
            config[component] = named if isinstance(written, list) else named[0]
    return json.dumps(config)


def _load(path: str) -> dict[str, Any]:
    """Read a mapping from YAML, of bounded size."""
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
    return config


def _named(component: str, written: Any, path: str, allowed: Collection[str]) -> Any:
    """Return a component of a file with the import path of its class; what names no class stays as it is."""
    one = {"class_path": written} if isinstance(written, str) else written
    if not isinstance(one, dict) or "class_path" not in one:
        return one
    name = str(one["class_path"])
    package = name.partition(".")[0]
    if "." in name and package not in allowed and not COMPONENTS[component].is_trusted(name):
        raise UserError(
            f"--config {path} names {name!r}, and a file that names a class is a program; "
            f"if you trust it: --allow_import {package}"
        )
    return {**one, "class_path": import_path(component, name)}
