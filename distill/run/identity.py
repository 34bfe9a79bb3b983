"""Fingerprints: what determines the embeddings of an encoder, and what all processes of a run have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.data.clips.manifest import Manifest
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.data.files import file_digest, plain
from distill.data.fingerprint import digest, weights_digest
from distill.frozen import Frozen
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


def encoder_fingerprint(encoder: Encoder) -> dict[str, Any]:
    """Return the properties of an encoder that determine its embeddings: class, options and weights.

    The location of a checkpoint is left out, so that a moved file changes no fingerprint. The licence that a user
    states is left out too. An encoder may hold no parameters of PyTorch, such as one of TensorFlow Lite. Then the
    files that its options name count.
    """
    spec = TEACHERS.spec_of(encoder)
    options = {key: value for key, value in spec.options.items() if key not in ("checkpoint", "revision", "licence")}
    later = encoder.later_options
    options = {key: value for key, value in options.items() if key not in later or value != later[key]}
    if isinstance(encoder, Frozen) and encoder.space:
        options = {key: value for key, value in options.items() if key not in ("student", "allow_import")}
    if isinstance(windows := options.get("windows"), Mapping):
        # As in earlier versions. Clips of up to a window do not depend on the hop; `long_clips` states it for longer.
        options["windows"] = {**windows, "hop": windows.get("hop") or 0.0}
    fingerprint = {"encoder": spec.name, "options": options, "weights": weights_digest(encoder)}
    if next(encoder.parameters(), None) is None and (files := _file_digests(spec.options)):
        fingerprint |= {"options": {key: value for key, value in options.items() if key not in files}, "files": files}
    return fingerprint | ({"shaped_by": plain(encoder.shaped_by)} if encoder.shaped_by else {})


def require_known_weights(encoder: Encoder, fingerprint: Mapping[str, Any]) -> None:
    """Raise UserError if a fingerprint cannot tell two checkpoints of an encoder apart.

    It can by parameters or buffers of PyTorch, by files that the options name, or by `shaped_by`. A class without any
    must state that its code alone determines the embeddings: `weights = None`.

    Args:
        encoder: The encoder.
        fingerprint: That of `encoder_fingerprint`.
    """
    if encoder.state_dict() or "files" in fingerprint or "shaped_by" in fingerprint:
        return
    if getattr(encoder, "weights", encoder) is not None:
        raise UserError(
            f"{fingerprint['encoder']}: nothing identifies its weights, so a store could mix those of two files. Name "
            "the file in an option of the constructor, or state `weights = None` in the class if there are no weights"
        )


def _file_digests(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each option that is a file or a folder: for a folder, of its names and their SHA-256."""
    digests = {}
    for option, value in options.items():
        path = Path(value).expanduser() if isinstance(value, str) and value else None
        if path is not None and path.is_file():
            digests[option] = file_digest(path)
        elif path is not None and path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            digests[option] = digest([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
    return digests


def identity(encoder: Encoder) -> str:
    """Return a digest of class, options and weights: 16 hexadecimal digits. Encoders of one identity embed equally.

    Clips that are longer than a window may differ, since they also depend on the default of the windows' hop. The
    location of the weights does not count. A store has the identity of the teacher that wrote it. A store that another
    program wrote has an identity of its own. A frozen student has the identity of the student.
    """
    if isinstance(encoder, Teacher) and encoder.store is not None:
        fingerprint = encoder.store.fingerprint
        parts = {
            key: fingerprint[key]
            for key in ("encoder", "options", "weights", "files", "shaped_by")
            if key in fingerprint
        }
        return digest(parts if "weights" in parts else encoder.store.digest)[:16]
    if isinstance(encoder, Frozen) and not encoder.space:
        encoder = encoder.student
    return digest(encoder_fingerprint(encoder))[:16]


def code_digest() -> str:
    """Return a digest of the source files of this package: 16 hexadecimal digits."""
    state = hashlib.sha256()
    folder = Path(__file__).parent.parent
    for room in (folder, *(folder / name for name in ("data", "teachers", "students"))):  # which may be links
        for file in sorted(room.rglob("*.py")):
            state.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return state.hexdigest()[:16]


def data_digest(manifest: Manifest) -> str:
    """Return a digest of the clips, their labels, splits and domains: 16 hexadecimal digits."""
    rows = manifest.rows
    columns = [rows.labels, rows.splits, *([] if rows.domains is None else [rows.domains])]
    named = [[list(map(list, column.values)), hashlib.sha256(column.codes.tobytes()).hexdigest()] for column in columns]
    return digest([manifest.digest, named])[:16]
