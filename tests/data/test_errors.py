"""Errors of the user."""

from __future__ import annotations

import errno
import pickle

import pytest

from distill.data.errors import AudioError, StoreError, UserError, as_text, exit_code_of, first_line, require_one_of


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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("damaged"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (FileNotFoundError(errno.ENOENT, "No such file"), 1),
        (KeyboardInterrupt(), 130),
        (ValueError("wrong"), 1),
    ],
)
def test_each_kind_of_error_has_an_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code
