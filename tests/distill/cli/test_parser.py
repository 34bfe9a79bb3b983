"""Messages of jsonargparse that are rewritten: when its wording changes, these fail."""

from __future__ import annotations

import pytest

from distill.cli.parser import parser_of
from distill.data.errors import UserError

MOBILENET = "--student=distill.students.mobilenet_v3.MobileNetV3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch=3"], r"did you mean --epochs\? \(distill fit --help shows all options\)"),
        ([MOBILENET, "--student.widht=2"],
         r"^--student has no option 'widht'; did you mean --student.width\?"),
        ([MOBILENET, "--student.zzz=2"], r"^--student has no option 'zzz' "),
        (["--crop.second=2"], r"did you mean --crop.seconds\?"),
        (["--epochs=many"], r"epochs"),
        (["stray"], r"[Uu]nrecognized arguments"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_a_suggestion(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parser_of("fit").parse_args(words)
    assert "\n" not in str(caught.value)
