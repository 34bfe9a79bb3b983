"""Options that build each teacher with tiny weights."""

from __future__ import annotations

import pytest

from tests.teachers.tiny import Options, TinyOptions


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options of each teacher, by name, from its test module."""
    return TinyOptions(tmp_path_factory.mktemp("checkpoints"))
