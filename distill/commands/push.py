"""`distill push`: upload a trained student to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from distill.data.errors import UserError, first_line
from distill.students.saved import card_of, load_student, save_student

# Licences that allow the results of a teacher to be passed on, by their names on the hub.
_LICENCES = {
    "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
}  # fmt: skip
_NO_WEIGHTS = ("none: computed", "none: random weights")  # teachers that nobody has rights in
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def push(
    model: str = "", to: str = "", public: bool = False, licence: str = "", allow_import: str | None = None
) -> None:
    """Upload a trained student to the Hugging Face hub: `distill push RUN user/name`.

    The page is private unless --public is given. Its README.md is the model card. `distill.load("user/name")` loads it.
    The token is that of `hf auth login` or of HF_TOKEN.

    Args:
        model: Trained student: a run folder or a student folder.
        to: Name on the hub, "user/name". The page is created if it does not exist.
        public: Whether everybody can see a page that is created.
        licence: Licence of the student, which you decide, as an SPDX name. Required if the licence of the weights it
            learned from is unknown or forbids to pass them on. Empty: the card's.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: there is no such student, a licence is required, there is no token, or the hub refuses.
    """
    if not model or to.count("/") != 1:
        raise UserError("a student and a name on the hub are required: distill push RUN user/name")
    if not Path(model).exists():
        raise UserError(f"{model}: no such run or student folder")
    _require_token()
    student = load_student(model, allow_import)
    taught = student.licence
    print(f"licence of the weights it learned from: {taught}")
    if not licence and (part := unclear_part(taught)):
        raise UserError(
            f"--licence is required, since '{part}' does not say that a student may be passed on; "
            "ask its owner, then state the student's own licence"
        )
    with TemporaryDirectory() as folder:  # written anew, so that a student of an earlier version has all files
        save_student(student, Path(folder), licensed_card(card_of(model), taught, licence))
        page = _upload(Path(folder), to, public)
    print(f"{page} ({'public if it is new' if public else 'private if it is new'})")


def _require_token() -> None:
    """Raise UserError without a token, before the student is loaded and a licence is decided."""
    from huggingface_hub import get_token

    if not get_token():
        raise UserError("no token of the Hugging Face hub: run `hf auth login`, or set HF_TOKEN")


def unclear_part(licence: str) -> str:
    """Return the first of several licences, joined by "; ", that is unknown or forbids to pass a student on; or ""."""
    return next((part for part in licence.split("; ") if not (_hub_name(part) or part in _NO_WEIGHTS)), "")


def _hub_name(licence: str) -> str:
    """Return the hub's name of a licence; empty if it is not a known one. Remarks in brackets do not matter."""
    name = re.sub(r" \(.*\)$", "", licence).lower()
    return name if name in _LICENCES else ""


def licensed_card(card: str, taught: str, licence: str) -> str:
    """Return a model card with the licence that the hub shows.

    Args:
        card: Card of the student.
        taught: Licence of the weights it learned from.
        licence: Licence of the student. Empty: that of the card.
    """
    match = _FRONT.match(card)
    front = yaml.safe_load(match[1]) if match else {"library_name": "audio-distill"}
    of_card = front.pop("license_name", None) or front.get("license")
    name = licence or of_card or f"that of the weights it learned from: {taught}"
    if known := _hub_name(name):
        front["license"] = known
    else:  # the hub takes a name of letters, digits, dots and dashes
        front |= {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")}
    text = yaml.safe_dump({**front, "teacher_license": taught}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n{card[match.end() :] if match else card}"


def _upload(folder: Path, to: str, public: bool) -> str:
    """Upload a student folder in one commit. Return the address of the page."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="audio-distill")
    operations = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    try:
        api.create_repo(to, private=not public, exist_ok=True)
        api.create_commit(to, operations, commit_message="Upload a student of audio-distill")
    except Exception as error:  # the hub, its validators and its HTTP library raise different classes
        raise UserError(f"{to}: the upload failed ({first_line(error)})") from error
    return f"{api.endpoint}/{to}"
