"""The run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill.data.errors import UserError
from tests.distill.commands.test_fit import fit, weights


def test_a_folder_in_use_is_not_written_into(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    fit(data, tmp_path / "run", epochs=1)
    before = weights(tmp_path / "run")
    with pytest.raises(UserError, match=r"--resume.*--overwrite.*--init_from"):
        fit(data, tmp_path / "run")
    fit(data, tmp_path / "run", overwrite=True, epochs=1, seed=5)
    assert not before["convolution.weight"].equal(weights(tmp_path / "run")["convolution.weight"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(UserError, match="other files"):
        fit(data, tmp_path / "other", overwrite=True)
