"""Files that are opened as tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill.data.clips.tables.opening import TABLE_SUFFIXES, open_table
from distill.data.errors import UserError


@pytest.mark.parametrize("suffix", sorted(TABLE_SUFFIXES))
def test_what_is_not_a_file_is_refused(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for name, message in (("pipe", "not a regular file"), ("none", "No such file")):
        with pytest.raises(UserError, match=f"{name}{suffix}: {message}"):
            open_table(tmp_path / f"{name}{suffix}")


def test_the_case_of_a_suffix_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "t.CSV").write_text("path,label\n")
    assert open_table(tmp_path / "t.CSV").header == ("path", "label")
