"""Student folders: write a trained student, and load it without running code from the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from distill.data.encoders.checkpoint import read_state_dict
from distill.data.encoders.packed import pack
from distill.data.errors import UserError, first_line
from distill.data.files import file_digest, write_atomically, write_json, write_text
from distill.students import STUDENTS
from distill.students.heads import Classifier, Head, TextHead
from distill.students.spaces import Space
from distill.students.student import Student

MODEL_TYPE = "audio_distill_student"  # of transformers
_CODE = "student_code"  # module in a student folder that names our classes, for people who set trust_remote_code
_AUTO_CLASSES = {
    "AutoConfig": "auto_config.StudentConfig",
    "AutoModel": "auto_model.StudentModel",
    "AutoFeatureExtractor": "auto_extractor.StudentFeatureExtractor",
}
_DOWNLOADED = ["config.json", "*.safetensors", "README.md"]  # from the hub: no code
_SPACES, _HEAD = "spaces.safetensors", "head.safetensors"


def save_student(student: Student, folder: Path, card: str) -> None:
    """Write a student folder, which `load_student` reads: model.safetensors, config.json and README.md.

    preprocessor_config.json, modules.json and student_code.py are for transformers and sentence-transformers. They name
    classes of this package, and `load_student` does not read them.

    The spaces of the student, if it has any, are in spaces.safetensors, and the head of its classifier in
    head.safetensors.

    Args:
        student: The student. The options that name its initial weights are not written.
        folder: The student folder. It is created if it does not exist; its files are replaced.
        card: The model card, in Markdown. It becomes README.md.

    Raises:
        UserError: a weight is not finite, an option of the student cannot be written as JSON, or the student classifies
            by texts.
    """
    if student.classifier is not None and isinstance(student.classifier.head, TextHead):
        raise UserError("a student that classifies by texts cannot be saved; set its `classifier` to None")
    state = student.state_dict()
    if not_finite := [
        key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()
    ]:
        raise UserError(f"the student's {not_finite[0]!r} is not finite; the student was not saved")
    options = {
        name: value for name, value in STUDENTS.spec_of(student).options.items() if name not in student.initial_weights
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.safetensors", lambda file: file.write(weights_of(student)))
    spaces = {f"{name}/{key}": t for name, space in student.spaces.items() for key, t in space.state_dict().items()}
    _save_beside(spaces, folder / _SPACES)
    classifier = student.classifier
    _save_beside(classifier.head.state_dict() if classifier and classifier.head else {}, folder / _HEAD)
    write_json(
        folder / "config.json",
        {
            "student": STUDENTS.name_of(type(student)),
            "class": f"{type(student).__module__}.{type(student).__qualname__}",
            "options": options,
            "sample_rate": student.sample_rate,
            "clip_dim": student.clip_dim,
            "frame_dim": student.frame_dim,
            "frame_hop": student.frame_hop,
            "parameters": student.parameter_count(),
            "labels": list(student.labels),
            "licence": student.licence,
            "teachers": dict(student.teachers),
            "spaces": {name: space.dim for name, space in student.spaces.items()},
            "classifier": classifier and {**classifier.as_config(), "has_head": classifier.head is not None},
            "sha256": file_digest(folder / "model.safetensors"),
            "audio_distill": version("audio-distill"),
            "model_type": MODEL_TYPE,
            "architectures": ["StudentModel"],
            "auto_map": _auto_map(),
        },
    )
    _write_for_libraries(folder, student.sample_rate)
    write_text(folder / "README.md", card)


def licence_of(folder: Path) -> str:
    """Return the licence of the weights in a student folder; without a configuration, that of any student.

    Raises:
        UserError: the configuration is damaged.
    """
    config = _configuration(folder) if (folder / "config.json").is_file() else {}
    return str(config.get("licence", Student.licence))


def _write_for_libraries(folder: Path, sample_rate: int) -> None:
    """Write the files by which transformers and sentence-transformers find the classes of `distill.adapters`."""
    extractor = {
        "feature_extractor_type": "StudentFeatureExtractor", "feature_size": 1, "sampling_rate": sample_rate,
        "padding_value": 0.0, "auto_map": _auto_map(),
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", extractor)
    module = {"idx": 0, "name": "0", "path": "", "type": "distill.adapters.sentence_transformers.StudentModule"}
    write_json(folder / "modules.json", [module])
    imports = [
        f"from distill.adapters.{module} import {name}"
        for module, _, name in (path.partition(".") for path in _AUTO_CLASSES.values())
    ]
    write_text(folder / f"{_CODE}.py", "\n".join(["# pip install audio-distill", *imports, ""]))


def _auto_map() -> dict[str, str]:
    """Return the classes of the folder's own module by the names of transformers' classes."""
    return {auto: f"{_CODE}.{path.partition('.')[2]}" for auto, path in _AUTO_CLASSES.items()}


def weights_of(student: Student) -> bytes:
    """Return the content of model.safetensors of a student."""
    return _packed(student.state_dict())


def _packed(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors in the format of safetensors. They may share memory."""
    return save({key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()})


def card_of(source: str | Path) -> str:
    """Return the model card of a saved student; empty if there is none. Raises as `load_student`."""
    path = student_folder(source) / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def load_student(source: str | Path, allow_import: str | None = None) -> Student:
    """Load a trained student from a run folder, a student folder or the hub. Return it in evaluation mode.

    Args:
        source: Path of a run folder or of a student folder, or a hub id ("owner/name").
        allow_import: Package that may be imported to find the class of an unregistered student. None means that no
            package may be imported: a file that names a class can run the code of that class. A class that is already
            imported needs no permission.

    Raises:
        UserError: there is no student, its configuration or weights are damaged, or its class may not be imported.
    """
    folder = student_folder(source)
    config = _configuration(folder)
    name = _permitted_name(config, source, allow_import)
    weights = folder / "model.safetensors"
    state = read_state_dict(weights, option="the student's weights")
    if file_digest(weights) != config["sha256"]:
        raise UserError(f"{weights} is damaged: its sha256 differs from the one in config.json")
    student = STUDENTS.create(name, **config["options"])
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{folder}: the weights do not fit the student {name!r} ({str(error).splitlines()[1].strip()})"
        ) from error
    student.labels, student.licence = tuple(config.get("labels", ())), config.get("licence", student.licence)
    student.teachers = dict(config.get("teachers", {}))
    student.spaces = _load_spaces(folder / _SPACES, config.get("spaces", {}))
    student.classifier = _load_classifier(folder, config, len(student.labels))
    pack(student)
    return student.eval()


def _save_beside(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors beside the weights. Without any, there is no file."""
    if not state:
        path.unlink(missing_ok=True)
        return
    write_atomically(path, lambda file: file.write(_packed(state)))


def _load_spaces(path: Path, sizes: Mapping[str, int]) -> dict[str, Space]:
    """Return the spaces of a student by the names of its teachers. Raise UserError if the file is damaged."""
    if not sizes:
        return {}
    state = read_state_dict(path, option="the student's spaces")
    try:
        spaces = {
            name: Space.from_state(
                {key.removeprefix(f"{name}/"): tensor for key, tensor in state.items() if key.startswith(f"{name}/")}
            )
            for name in sizes
        }
    except KeyError as error:
        raise UserError(f"{path} is damaged: it lacks {error}") from error
    if wrong := [name for name, space in spaces.items() if space.dim != sizes[name]]:
        raise UserError(f"{path} is damaged: the space {wrong[0]!r} has another size than in config.json")
    return spaces


def _load_classifier(folder: Path, config: Mapping[str, Any], classes: int) -> Classifier | None:
    """Return the classifier of a student; None if it has none. Raise UserError if its values are damaged."""
    values = dict(config.get("classifier") or {})
    if not values:
        return None
    path = folder / _HEAD
    state = read_state_dict(path, option="the student's head") if values.pop("has_head", False) else None
    try:
        head = None if state is None else Head.from_state(state)
        classifier = Classifier.from_config(values, head)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{path if state else folder / 'config.json'} is damaged: {first_line(error)}") from error
    if head is not None and head.linear.out_features != classes:
        raise UserError(f"{path} is damaged: it has {head.linear.out_features} classes, config.json names {classes}")
    return classifier


def untrained_student(source: str | Path, allow_import: str | None = None, seed: int = 0) -> Student:
    """Build the network of a saved student with random weights: the baseline of the trained one.

    Args:
        source: Path of a run folder or of a student folder, or a hub id ("owner/name").
        allow_import: Package that may be imported to find the class of an unregistered student. None means no package.
        seed: Seed of the weights.

    Returns:
        The network in evaluation mode.

    Raises:
        UserError: as `load_student`, apart from the weights, which are not read.
    """
    config = _configuration(student_folder(source))
    return _with_random_weights(_permitted_name(config, source, allow_import), config["options"], seed)


def untrained_copy(student: Student, seed: int = 0) -> Student:
    """Build the network of a student with random weights, in evaluation mode. Files of initial weights are not read.

    Args:
        student: The student. It must be possible to build it again from its options.
        seed: Seed of the weights.
    """
    spec = STUDENTS.spec_of(student)
    options = {name: value for name, value in spec.options.items() if name not in student.initial_weights}
    return _with_random_weights(spec.name, options, seed)


def _with_random_weights(name: str, options: Mapping[str, Any], seed: int) -> Student:
    """Build a student with random weights, without a change of the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STUDENTS.create(name, **options).eval()


def _configuration(folder: Path) -> dict[str, Any]:
    """Return the content of config.json of a student folder. Raise UserError if it is not that of a student."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        if missing := [key for key in ("student", "options", "sha256") if key not in config]:
            raise KeyError(missing[0])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the configuration of a student ({error})") from error
    return config


def _permitted_name(config: Mapping[str, Any], source: str | Path, allow_import: str | None) -> str:
    """Return the name or import path of the class of a student. Raise UserError if it may not be imported."""
    name: str = config["student"]
    if "." not in name and not STUDENTS.is_trusted(name):
        name = config.get("class", name)  # the module that registers the short name is not imported yet
    allowed = allow_import is not None and (name + ".").startswith(allow_import + ".")
    if not allowed and not STUDENTS.is_trusted(name):
        raise UserError(
            f"{source} was trained with the student {name!r}, which is not imported; "
            f"if you trust it: --allow_import {name.partition('.')[0]} (in Python: import it first)"
        )
    return name


def student_folder(source: str | Path, **hub_options: Any) -> Path:
    """Return the student folder of a run, the folder itself, or a download from the hub.

    Args:
        source: Path of a run folder or of a student folder, or a hub id ("owner/name").
        hub_options: Options of `huggingface_hub.snapshot_download`, such as `revision`.

    Raises:
        UserError: there is no such folder, and no such student on the hub.
    """
    path = Path(source)
    for folder in (path / "student", path):
        if (folder / "config.json").is_file():
            return folder
    if path.is_dir():
        runs = sorted(folder.parent for folder in path.glob("*/student"))
        advice = f"name one of its runs, such as {runs[0]}" if runs else "did its `distill fit` finish?"
        raise UserError(f"{path} has no trained student (no student/config.json); {advice}")
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise UserError(f"{source}: no such run or student folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=_DOWNLOADED, **hub_options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{source}: not a folder, and not a student on the hub") from error
