"""The parts of a run: loading them, and checking that they fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.encoders.registry import Spec, Written
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.objectives.objective import Objective
from distill.run.encoders import describe
from distill.run.options import FitOptions
from distill.run.recipe import DEFAULT_TEACHER
from distill.students import STUDENTS
from distill.students.saved import load_student
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class Parts:
    """The clips, teachers, student and objective of a run.

    Args:
        manifest: Clips of the data. If the objective reads labels, every clip has labels.
        teachers: Teachers by name, as loaded and not yet replaced by their stores.
        student: Student with its initial weights.
        objective: Name and all options of the objective.
    """

    manifest: Manifest
    teachers: Mapping[str, Teacher]
    student: Student
    objective: Spec

    def build_objective(self, teachers: Mapping[str, Teacher], seed: int) -> Objective:
        """Build the objective, which reads what it needs to know of the clips.

        Args:
            teachers: Teachers by name: the encoders, or their stored embeddings.
            seed: Seed of the initial weights of the objective's heads.

        Raises:
            UserError: an option is not valid, or does not fit the clips.
        """
        torch.manual_seed(seed + 1)
        inputs = {"teachers": teachers} if _objective_class(self.objective).takes_teachers else {}
        objective = OBJECTIVES.create(self.objective.name, student=self.student, **inputs, **self.objective.options)
        objective.read_clips(self.manifest)
        return objective

    def introduction(self) -> str:
        """Return a description of the teachers and the student, one or two lines for each."""
        lines = [describe("teacher", name, teacher) for name, teacher in self.teachers.items()]
        return "\n".join([*lines, describe("student", STUDENTS.name_of(type(self.student)), self.student)])


def prepare(options: FitOptions) -> Parts:
    """Load the parts of a run. No file is written.

    Args:
        options: Options of the run.

    Raises:
        UserError: a part cannot be loaded, or the parts do not fit each other.
    """
    spec = OBJECTIVES.parse(options.objective)
    kind = _objective_class(spec)
    manifest = read_manifest(options.source, options.task)
    if kind.reads_labels:
        manifest = manifest.labelled()
    print(summary_of(manifest))
    spec = Spec(spec.name, kind.options_for(spec.options, manifest))
    default = [DEFAULT_TEACHER] if kind.requires_teachers else []
    teachers = TEACHERS.build_several(options.teachers or default)
    if teachers and not kind.takes_teachers:
        raise UserError(f"--objective {spec.name} takes no teacher; omit --teacher")
    torch.manual_seed(options.seed)
    student = _build_student(options.student, len(manifest.classes) if kind.reads_labels else 0)
    name_classes(student, manifest.classes if kind.reads_labels else ())
    if options.init_from:
        take_weights(student, options.init_from, new_head=kind.reads_labels)
    complete = OBJECTIVES.complete(spec, given={"student", "teachers"})
    return Parts(manifest, teachers, student, complete)


def check(options: FitOptions, crop: Crop, parts: Parts) -> Objective:
    """Check that options and parts fit each other, before any clip is embedded.

    Args:
        options: Options of the run.
        crop: Part of each clip that is used.
        parts: Loaded parts of the run.

    Returns:
        The objective, built with the loaded teachers, so that mistakes in its options are found here.

    Raises:
        UserError: an option or a part does not fit the others.
    """
    if parts.teachers and crop.position == "random" and not options.live:
        raise UserError("--crop.position random requires --live: a stored embedding is that of one crop")
    for teacher in parts.teachers.values():
        teacher.check_crop({"crop_seconds": crop.seconds, "crop_position": crop.position})
    objective = parts.build_objective(parts.teachers, options.seed)
    if objective.augments_teachers and not options.live and any(t.store is None for t in parts.teachers.values()):
        raise UserError(
            "--objective.teacher_input same: use --live, or `distill embed --views 4` and then --teacher precomputed "
            "--teacher.store STORE"
        )
    sampling, clips = options.sampling, len(parts.manifest)
    stored = sampling.needs_store or objective.needs_store
    if stored and not parts.teachers:
        raise UserError(f"{stored} are made from a teacher's embeddings: --teacher is required")
    if stored and options.live:
        raise UserError(f"{stored} are made from the teacher's stored embeddings; omit --live")
    if (sampling.policy == "cluster" or objective.needs_clusters) and sampling.clusters > clips:
        raise UserError(f"--sampling.clusters {sampling.clusters}: must be from 1 to {clips}, the number of clips")
    if sampling.policy == "label" and not parts.manifest.classes:
        raise UserError("--sampling.policy label: the data has no labels")
    return objective


def resolve(options: FitOptions, parts: Parts) -> FitOptions:
    """Return the options with the options of every part completed, for config.yaml."""
    teachers = [TEACHERS.spec_of(teacher).as_config() for teacher in parts.teachers.values()]
    return replace(
        options,
        teacher=teachers or None,
        student=STUDENTS.spec_of(parts.student).as_config(),
        objective=parts.objective.as_config(),
    )


def name_classes(student: Student, classes: tuple[str, ...]) -> None:
    """Name the classes of a student that is to be trained.

    A head of other classes is dropped.

    Args:
        student: The student. It is changed.
        classes: Names of the classes. Empty: it is not trained on labels, so that a head would not fit any more.
    """
    before = student.classifier
    if student.labels != classes and before is not None:
        student.classifier = None
        student.labels = () if before.head is not None else student.labels  # logits of the network itself stay
    student.labels = classes or student.labels


def take_weights(student: Student, source: str, new_head: bool) -> None:
    """Copy the weights and the licence of a trained student into another, and its head if it is of the same classes.

    Args:
        student: Student to initialise. It is changed.
        source: Trained student: a run folder, a student folder or a hub id.
        new_head: Whether the head may keep its random weights if the source has none.

    Raises:
        UserError: the source holds no student, or its weights do not fit.
    """
    trained = load_student(source)
    student.licence, weights = trained.licence, trained.state_dict()
    head = {key for key in student.state_dict() if key not in weights and key.startswith("head.")}
    if head and new_head:
        print(f"--init_from {source}: its student has no head; the new head has random weights")
        weights |= {key: tensor for key, tensor in student.state_dict().items() if key in head}
    if new_head and trained.classifier is not None:
        classes = student.labels
        student.classifier, student.labels = trained.classifier, trained.labels
        name_classes(student, classes)
    try:
        student.load_state_dict(weights)
    except RuntimeError as error:
        line = str(error).splitlines()[1].strip()
        raise UserError(f"--init_from {source}: its student does not fit this one ({line})") from error


def _objective_class(spec: Spec) -> type[Objective]:
    """Return the class of an objective."""
    kind: type[Objective] = OBJECTIVES.find(spec.name)  # type: ignore[assignment]
    return kind


def _build_student(part: Written | Student | None, classes: int) -> Student:
    """Build the student, with a head for the classes of the data if it takes one and none was given."""
    if not isinstance(part, str | Mapping):
        return STUDENTS.build(part)  # type: ignore[arg-type]
    spec = STUDENTS.parse(part)
    kind: type[Student] = STUDENTS.find(spec.name)  # type: ignore[assignment]
    if kind.takes_classes and classes and not spec.options.get("classes"):
        spec = Spec(spec.name, {**spec.options, "classes": classes})
    return STUDENTS.build(spec)
