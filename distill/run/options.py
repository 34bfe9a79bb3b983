"""The options of `fit`, as one frozen, typed value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from distill.data.clips.dataset import Crop
from distill.data.clips.sources import Data
from distill.data.encoders.registry import Rebuildable, Registry, Spec, Written
from distill.data.errors import UserError
from distill.data.files import as_settings, plain
from distill.data.sampling.weights import Sampling
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine
from distill.training.loggers import check_loggers
from distill.training.optimizer import Optimizer

Teachers = Written | Teacher | Sequence[Written | Teacher] | None
"""Teachers of a command: names, import paths or objects."""

_SETTINGS: dict[str, type[Any]] = {"crop": Crop, "sampling": Sampling, "optimizer": Optimizer, "engine": Engine}


class Specs(NamedTuple):
    """Names and options of the parts of a run.

    Args:
        teachers: Names and options of the teachers, in the order of the command.
        student: Name and options of the student.
        objective: Name and options of the objective.
    """

    teachers: tuple[Spec, ...]
    student: Spec
    objective: Spec


@dataclass(frozen=True)
class FitOptions:
    """The options of a run. They are kept in config.yaml.

    Args:
        teacher: Encoder to imitate, or several: a registered name, an import path, or an object. None: no teacher.
            For an objective that requires one, None means `musicnn`, whose weights come with the package.
        student: Encoder to train: a registered name, an import path, or an object.
        data: Clips: a folder of audio, a table, or the folder of a published data set. In Python also `distill.Data`.
        out: Run folder.
        objective: Objective to minimise: a registered name or an import path.
        epochs: Number of passes over the training clips. None: `max_steps` counts.
        max_steps: Number of training steps. None: `epochs`, otherwise chosen by the number of clips. Without `epochs`,
            training ends early if the held-out loss does not fall any more.
        budget: Time for the whole run, such as "20min" or "2h". It becomes a number of steps, after a few measured
            ones. Empty: no limit.
        batch_size: Clips per batch, summed over all devices. None: chosen by the number of clips.
        crop: Part of each clip that is used. None: the window of the teacher, at most 10 s.
        sampling: Sampling policy: the frequency at which each clip is drawn.
        optimizer: Settings of AdamW and of its schedule.
        engine: Settings of devices, precision and workers.
        live: Run the teacher on every batch. Random crops require it.
        store: Folder that keeps the teacher's embeddings between runs. Empty: `embeddings` in the run folder.
        validation: Share of the clips to hold out for validation, from 0 to below 1. 0: none. None: chosen by the
            number of clips.
        fold: Fold or split of the data to hold out instead of a share. Empty: the validation split, else a share.
            "all": a run for each fold of labelled data, in `fold_NAME` of `out`; then the scores of all.
        task: Published data set in the folder, such as "speech_commands_v1". "auto": found by its files.
        seed: Seed of weights, order, crops and dropout.
        init_from: Trained student with the initial weights, such as a run folder. Empty: random weights.
        keep_steps: Steps after which the student is kept, in `students/` of the run folder.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits of a table. Empty: found by its name.
    """

    teacher: Teachers = None
    student: Written | Student | None = "cnn"
    data: str | Data = ""
    out: str = ""
    objective: Written = "embedding"
    epochs: int | None = None
    max_steps: int | None = None
    budget: str = ""
    batch_size: int | None = None
    crop: Crop | None = None
    sampling: Sampling = Sampling()
    optimizer: Optimizer = Optimizer()
    engine: Engine = Engine()
    live: bool = False
    store: str = ""
    validation: float | None = None
    fold: str = ""
    task: str = "auto"
    seed: int = 0
    init_from: str = ""
    keep_steps: tuple[int, ...] = ()
    root: str = ""
    label: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        # Callers in Python may pass mappings, and config.yaml holds only these.
        for name, kind in _SETTINGS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_settings(kind, getattr(self, name)))
        object.__setattr__(self, "keep_steps", tuple(self.keep_steps))
        object.__setattr__(self, "fold", str(self.fold))  # YAML reads fold 1 as a number
        for name, text in Data.of(self.data, self.root, self.label, self.split).as_options().items():
            object.__setattr__(self, name, text)
        object.__setattr__(self, "out", str(self.out))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FitOptions:
        """Return the options from the content of a config.yaml.

        Args:
            config: Values by name of the option. Missing options have their defaults.

        Raises:
            UserError: an option is unknown, or its value is not valid.
        """
        known = {field.name for field in fields(FitOptions)}
        if unknown := sorted(config.keys() - known):
            raise UserError(f"config.yaml: the option {unknown[0]!r} is unknown")
        # Earlier versions did not sort the clips of a batch by length, and a resumed run must not change.
        return cls(**{**config, "sampling": {"by_length": False, **config.get("sampling", {})}})

    def as_config(self) -> dict[str, Any]:
        """Return the options as plain values, for config.yaml.

        Raises:
            UserError: a part is an object that cannot be described by name and options.
        """
        specs = self.specs()
        teachers = [spec.as_config() for spec in specs.teachers]
        config = {field.name: getattr(self, field.name) for field in fields(FitOptions)}
        config["teacher"] = teachers[0] if len(teachers) == 1 else teachers or None
        config["student"], config["objective"] = specs.student.as_config(), specs.objective.as_config()
        return {name: plain(value) for name, value in config.items()}

    def specs(self) -> Specs:
        """Return names and options of all parts.

        Raises:
            UserError: a part is an object that cannot be described by name and options.
        """
        return Specs(
            teachers=tuple(_spec(part, TEACHERS) for part in self.teachers),
            student=_spec(self.student, STUDENTS),
            objective=_spec(self.objective, OBJECTIVES),
        )

    @property
    def source(self) -> Data:
        """Where the clips are."""
        return Data.of(self.data, self.root, self.label, self.split)

    @property
    def teachers(self) -> list[Written | Teacher]:
        """List of the teachers; empty if there is none."""
        return teachers_of(self.teacher)

    def check(self) -> None:
        """Raise UserError for a missing option or a wrong value, before anything heavy is loaded."""
        if not self.out:
            raise UserError("--out is required: the folder of the run")
        for name in ("student", "data"):
            if not getattr(self, name):
                raise UserError(f"--{name} is required; see `distill fit --help`")
        for name in ("epochs", "max_steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if any(step < 1 for step in self.keep_steps):
            raise UserError(f"--keep_steps {','.join(map(str, self.keep_steps))}: must be at least 1")
        check_loggers(self.engine.logger)
        if not 0 <= (self.validation or 0) < 1:
            raise UserError(f"--validation {self.validation}: must be a share from 0 to below 1")


@dataclass(frozen=True)
class FitArguments(FitOptions):
    """The arguments of `fit`: the options of a run, and its start.

    Args:
        resume: Continue the run in `out`. Options that are not given keep the values of that run.
        overwrite: Delete the run in `out` and start again.
        dry_run: Run one batch forward and backward, print the estimated cost of the run, and write no file.
        allow_import: Package whose classes a configuration file may name. None: no package.
    """

    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    allow_import: str | None = None

    def options(self, stored: FitOptions | None, given: frozenset[str]) -> FitOptions:
        """Return the options of the run, without the arguments of its start.

        Args:
            stored: Options of the run to continue. None: a new run.
            given: Names of the arguments that the caller gave. The others are taken from the stored run.
        """
        names = [field.name for field in fields(FitOptions)]
        given |= Data("").as_options().keys() if "data" in given else set()  # in Python, one value gives all four
        if stored is None:
            return FitOptions(**{name: getattr(self, name) for name in names})
        return replace(stored, **{name: getattr(self, name) for name in names if name in given})


def teachers_of(teacher: Teachers) -> list[Written | Teacher]:
    """Return the teachers of an argument that takes none, one or several."""
    if teacher is None:
        return []
    return [teacher] if isinstance(teacher, str | Mapping | Teacher) else list(teacher)


def _spec(part: Any, registry: Registry[Any]) -> Spec:
    """Return name and options of a part, which may be a built object."""
    return registry.spec_of(part) if isinstance(part, Rebuildable) else registry.parse(part)
