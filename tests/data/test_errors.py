"""Errors of the user."""

from __future__ import annotations

import pickle

import pytest

from distill.data.errors import AudioError, StoreError, UserError, as_text, first_line, require_one_of


def test_an_audio_error_keeps_its_reason_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(AudioError("malformed", "cut off")))
    assert (error.reason, error.detail, str(error)) == ("malformed", "cut off", "malformed: cut off")


def test_errors_of_clips_and_of_stores_end_the_process_as_errors_of_the_user_do() -> None:
    assert {kind.exit_code for kind in (UserError, AudioError, StoreError)} == {2}


@pytest.mark.parametrize(("message", "line"), [("\n first \nsecond", "first "), ("", "ValueError")])
def test_the_first_line_of_a_message_or_the_name_of_its_class(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line


def test_an_option_must_be_one_of_its_values() -> None:
    require_one_of("--crop.position", "start", ("start", "centre"))
    with pytest.raises(UserError, match=r"^--crop\.position 'end': must be one of start, centre$"):
        require_one_of("--crop.position", "end", ("start", "centre"))


@pytest.mark.parametrize(("path", "text"), [("ä b.wav", "ä b.wav"), ("a\nb", "a\\nb"), ("\udcff.wav", "\\udcff.wav")])
def test_a_path_is_printed_as_one_line(path: str, text: str) -> None:
    assert as_text(path) == text
