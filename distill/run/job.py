"""One run of `fit`: what it is made of, what it would take, and the run itself."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.clips.tables import split_name
from distill.data.encoders.registry import Spec, Written
from distill.data.errors import UserError
from distill.data.files import as_settings, lock, plain
from distill.data.sampling.hierarchy import hierarchical_weights
from distill.data.sampling.orders import (
    ClusterOrder,
    Draws,
    Order,
    StratifiedOrder,
    UniformOrder,
    WeightedOrder,
    cluster_weights,
)
from distill.data.sampling.weights import Sampling, cap, collapse_duplicates, effective_number, label_weights, temper
from distill.data.store.reader import EmbeddingStore
from distill.objectives import OBJECTIVES
from distill.objectives.classification import Classification, loss_for
from distill.objectives.objective import Objective
from distill.run.card import inherited_licence, model_card
from distill.run.clusters import clustering_of
from distill.run.embeddings import describe, fill_store, identity, report_set_aside
from distill.run.folder import Run
from distill.students import STUDENTS
from distill.students.saved import load_student, save_student
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.precomputed import Precomputed
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer

if TYPE_CHECKING:  # lightning is slow to import: what only looks at a run does without
    from distill.data.clips.lightning import L
    from distill.data.clips.module import AudioData

# What may differ when a run goes on: how long and where, not what is learned from what.
_MAY_CHANGE = {"epochs", "engine", "out"}
_STATISTICS_DRAWS = 50_000  # more change no statistic of a teacher that is read from a store


class Stopped(UserError):
    """A signal ended the run; everything is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Job:
    """Everything that a run is made of, loaded; nothing is written before `train`.

    Args:
        run: Its folder.
        settings: Arguments of `fit` by name, as objects or as config.yaml has them.

    Raises:
        UserError: a part cannot be built.
    """

    def __init__(self, run: Run, settings: Mapping[str, Any]) -> None:
        self.run = run
        self.crop = as_settings(Crop, settings["crop"])
        self.sampling = as_settings(Sampling, settings["sampling"])
        self.optimizer = as_settings(Optimizer, settings["optimizer"])
        self.engine = as_settings(Engine, settings["engine"])
        self.live: bool = settings["live"]
        self.seed: int = settings["seed"]
        self.epochs: int = settings["epochs"]
        self.batch_size: int = settings["batch_size"]
        self.validation: float = settings["validation"]
        self.fold = str(settings["fold"])
        self.store_path = Path(settings["store"] or run.path / "embeddings")
        named = OBJECTIVES.parse(settings["objective"])
        kind: Any = OBJECTIVES.find(named.name)
        self.takes_teachers = "teachers" in inspect.signature(kind).parameters
        self.manifest = read_manifest(settings["data"], settings["task"])
        self.reads_labels: bool = kind.reads_labels
        if self.reads_labels:
            self.manifest = self.manifest.labelled()
            if kind is Classification and named.options.get("loss", "auto") == "auto":
                named = Spec(named.name, {**named.options, "loss": loss_for(self.manifest)})
        self.teachers: dict[str, Teacher] = TEACHERS.build_several(_several(settings["teacher"]))
        if self.teachers and not self.takes_teachers:
            raise UserError(f"--objective {named.name} takes no teacher; leave --teacher out")
        if self.teachers and self.crop.position == "random" and not self.live:
            raise UserError("--crop.position random needs --live: a stored embedding belongs to one crop")
        for teacher in self.teachers.values():
            if isinstance(teacher, Precomputed):
                teacher.check_crop({"crop_seconds": self.crop.seconds, "crop_position": self.crop.position})
        torch.manual_seed(self.seed)
        self.student: Student = STUDENTS.build(self._with_classes(settings["student"]))
        if self.reads_labels:
            self.student.labels = self.manifest.classes
        if settings["init_from"]:
            self._take_weights(settings["init_from"])
        self._stores: dict[str, Path] = {}  # hashing a teacher's weights once is enough
        self._objective = OBJECTIVES.complete(named, given={"student", "teachers"})
        # A mistake in its options shows now, and not after the embedding.
        objective = self.objective(self.teachers)
        self.reads_frames = objective.reads_frames
        wants = self.sampling.needs_store or objective.needs_store
        if wants and not self.teachers:
            raise UserError(f"{wants} are made from a teacher's embeddings: --teacher is wanted")
        if self.live and wants:
            raise UserError(f"{wants} are made from the teacher's stored embeddings; leave --live out")
        clips = len(self.manifest)
        if (self.sampling.policy == "cluster" or objective.needs_clusters) and self.sampling.clusters > clips:
            raise UserError(
                f"--sampling.clusters {self.sampling.clusters}: with {clips} clips, 1 to {clips} can be made"
            )
        if self.sampling.policy == "label" and not self.manifest.classes:
            raise UserError("--sampling.policy label: the data has no labels")
        named_teachers = [TEACHERS.spec_of(teacher).as_config() for teacher in self.teachers.values()]
        self.config: dict[str, Any] = {
            **settings,
            **{name: plain(getattr(self, name)) for name in ("crop", "sampling", "optimizer", "engine")},
            "teacher": named_teachers[0] if len(named_teachers) == 1 else named_teachers or None,
            "student": STUDENTS.spec_of(self.student).as_config(),
            "objective": self._objective.as_config(),
            "data": str(settings["data"]),
            "out": str(run.path),
        }

    def objective(self, teachers: Mapping[str, Teacher]) -> Objective:
        """The objective with these teachers, its heads initialised from the seed."""
        torch.manual_seed(self.seed + 1)
        named = self._objective
        given = {"teachers": teachers} if self.takes_teachers else {}
        return OBJECTIVES.create(named.name, student=self.student, **given, **plain(named.options))

    def _with_classes(self, spec: Any) -> Any:
        """The student's options, with the number of the data's classes where it wants one and none was said."""
        if not isinstance(spec, str | Mapping):
            return spec
        named = STUDENTS.parse(spec)
        wants = "classes" in inspect.signature(STUDENTS.find(named.name)).parameters
        if wants and self.reads_labels and not named.options.get("classes"):
            named = Spec(named.name, {**named.options, "classes": len(self.manifest.labelled().classes)})
        return named

    def check_same_run(self) -> None:
        """Raise UserError where a resumed run would be another one than the one in the folder."""
        before = self.run.config
        changed = sorted(name for name in self.config if self.config[name] != before.get(name))
        if forbidden := [name for name in changed if name not in _MAY_CHANGE]:
            differences = "; ".join(f"{name} was {before.get(name)}, is {self.config[name]}" for name in forbidden)
            raise UserError(f"--resume goes on with the same run, but {differences}. A new run: --out elsewhere")

    def train(self, resume: bool) -> Student:
        """Embed, cluster, train, and save the student. The caller holds the lock on the run."""
        from distill.training.distiller import Distiller
        from distill.training.keep_alive import KeepAlive
        from distill.training.progress import Progress
        from distill.training.trainer import quiet, trainer

        if resume and (self.run.student / "config.json").exists() and self.run.config["epochs"] == self.epochs:
            print(f"{self.run.path} has ended already; its student is in {self.run.student}")
            return load_student(self.run.path)
        self.run.write_config(self.config)
        print(self.introduction())
        teachers = self.teachers if self.live else {name: Precomputed(self.embeddings(name)) for name in self.teachers}
        self.student.teachers = {name: identity(teacher) for name, teacher in teachers.items()}
        stores = [teacher.store for teacher in teachers.values() if isinstance(teacher, Precomputed)]
        manifest = self.manifest.subset(r for r in self.manifest.rows if all(r.id in store for store in stores))
        if not manifest.rows:
            raise UserError(f"--data {self.config['data']}: no clip of it is in {stores[0].path}")
        unknown = {r.id for r in self.manifest.rows} - {r.id for r in manifest.rows}
        unknown -= {clip.id for store in stores for clip in store.set_aside}
        if unknown:
            first = f"{min(unknown)!r} first" if len(unknown) > 1 else repr(min(unknown))
            print(f"{len(unknown)} of {len(self.manifest)} clips are in no store and are left out, {first}")
        rates = [teacher.sample_rate for teacher in teachers.values() if not isinstance(teacher, Precomputed)]
        data = self.data(manifest, max([self.student.sample_rate, *rates]))
        steps = len(data.sampler())
        drawn = _first_draws(data)
        for teacher in teachers.values():
            if isinstance(teacher, Precomputed):
                teacher.drawn = drawn
        objective = self.objective(teachers)
        if objective.needs_clusters:
            objective.clusters = self.clusters(data.train_clips.manifest)
        module = Distiller(objective, self.optimizer, steps)
        keep_alive = KeepAlive(self.run.checkpoints, data, self.engine.checkpoint_minutes)
        torch.manual_seed(self.seed + 2)
        with quiet():
            fitting = trainer(self.engine, data, [keep_alive, Progress(self.run.metrics, data)], self.run.path)
            fitting.fit(module, datamodule=data, ckpt_path=self._checkpoint() if resume else None, weights_only=True)
        set_aside = module.set_aside | {clip.id: clip for store in stores for clip in store.set_aside}
        report_set_aside(set_aside.values(), self.manifest, self.run.path / "set_aside.csv")
        if keep_alive.stopped_by:
            raise Stopped(
                f"stopped at batch {data.batches_done} of {steps}; go on with: "
                f"distill fit --resume true --out {self.run.path}",
                keep_alive.stopped_by,
            )
        return self._finish(fitting, module.objective, len(set_aside))

    def introduction(self) -> str:
        """What the teachers and the student are, and where their weights came from."""
        lines = [describe("teacher", name, teacher) for name, teacher in self.teachers.items()]
        return "\n".join([*lines, describe("student", self.config["student"]["class_path"], self.student)])

    def embeddings(self, name: str) -> Path:
        """Folder with a teacher's embeddings of all clips, computed where they are not there."""
        if name not in self._stores:
            self._stores[name] = self._embed(name)
        return self._stores[name]

    def _embed(self, name: str) -> Path:
        teacher = self.teachers[name]
        if isinstance(teacher, Precomputed):
            return teacher.store.path
        path = self.store_path / name if len(self.teachers) > 1 else self.store_path
        with lock(path, "distill fit"):
            fill_store(teacher, self.manifest, path, self.crop, min(self.batch_size, 16), frames=self.reads_frames)
        return path

    def data(self, manifest: Manifest, sample_rate: int) -> AudioData:
        """Training and validation clips, and their order."""
        from distill.data.clips.module import AudioData

        held_out, left_alone = self._held_out(manifest)
        train = manifest.subset(row for row in manifest.rows if row.id not in held_out | left_alone)
        if not train.rows:
            raise UserError(f"--validation {self.validation} leaves none of {len(manifest)} clips to train on")
        classes = manifest.classes
        clips = ClipDataset(train, sample_rate, self.crop, classes, self.seed)
        watched = ClipDataset(
            manifest.subset(row for row in manifest.rows if row.id in held_out), sample_rate, self.crop, classes
        )
        return AudioData(clips, watched, self._order(train), self.batch_size, self.epochs, self.engine.workers)

    def _held_out(self, manifest: Manifest) -> tuple[set[str], set[str]]:
        """Ids of the clips that are watched, and of those that are neither watched nor trained on.

        Clips of a test split are for tests: they are not trained on, with labels or without.
        """
        parts: dict[str, set[str]] = {}
        for row in manifest.rows:
            parts.setdefault(row.split, set()).add(row.id)
        fold = split_name(self.fold)
        if fold and fold not in parts:
            raise UserError(f"--fold {self.fold}: the data has {', '.join(sorted(parts)) or 'no folds'}")
        test = parts.get("test", set()) if fold != "test" else set()
        if test:
            print(f"{len(test)} clips of the split 'test' are left alone")
        if fold:
            return parts[fold], test
        named = parts.get("validation")
        return named or {row.id for row in manifest.rows if _share(row.id) < self.validation} - test, test

    def _order(self, train: Manifest) -> Order:
        sampling, draws = self.sampling, self.sampling.draws or len(train)
        exact = sampling.temper == 1 and not sampling.max_repeats and not sampling.duplicates
        if exact and sampling.policy == "uniform":
            return UniformOrder(len(train), self.seed, draws)
        if exact and sampling.policy == "cluster":
            label = self.clusters(train)
            return ClusterOrder(np.array([label[row.id] for row in train.rows]), self.seed, draws)
        weights = self._weights(train)
        if sampling.max_repeats:
            weights = cap(weights, sampling.max_repeats / draws)
        print(f"sampling: as many different clips as {effective_number(weights):.0f} drawn equally often would be")
        return (StratifiedOrder if sampling.max_repeats else WeightedOrder)(weights, self.seed, draws)

    def _weights(self, train: Manifest) -> NDArray[np.float64]:
        """Probability of each training clip, before a limit on repeats."""
        sampling, ids = self.sampling, [row.id for row in train.rows]
        embeddings, shares = np.empty((0, 0), np.float32), None
        if sampling.policy == "hierarchical" or sampling.duplicates:
            embeddings = EmbeddingStore(self.embeddings(next(iter(self.teachers))))[ids]
        if sampling.duplicates:
            shares = collapse_duplicates(embeddings, sampling.duplicates)
        weights = np.ones(len(train)) if shares is None else shares
        if sampling.policy == "label":
            index = {name: number for number, name in enumerate(train.classes)}
            weights = weights * label_weights([[index[label] for label in row.labels] for row in train.rows])
            if not weights.any():
                raise UserError("--sampling.policy label: no clip that is trained on has a label")
        if sampling.policy == "cluster":
            label = self.clusters(train)
            weights = cluster_weights(np.array([label[clip_id] for clip_id in ids]), shares)
        if sampling.policy == "hierarchical":
            weights = hierarchical_weights(embeddings, sampling.levels, self.seed, shares=shares)
        return temper(weights, sampling.temper)

    def clusters(self, train: Manifest) -> dict[str, int]:
        """Cluster of each clip by its id, from the first teacher's embeddings of the clips that are trained on."""
        store = EmbeddingStore(self.embeddings(next(iter(self.teachers))))
        clusters = clustering_of(
            store, self.run.path / "clusters", self.sampling.clusters, normalise=False, seed=self.seed,
            learned={row.id for row in train.rows},
        )  # fmt: skip
        return dict(zip(clusters.ids, clusters.labels.tolist(), strict=True))

    def _checkpoint(self) -> Path | None:
        checkpoint, damaged = self.run.newest_checkpoint()
        for path in damaged:
            print(f"{path} is damaged and left out")
        print(f"going on from {checkpoint}" if checkpoint else "no checkpoint yet: beginning again")
        return checkpoint

    def _take_weights(self, source: str) -> None:
        """Begin from a student's weights; where labels are learned, a head that it has not may be new."""
        begun = load_student(source)
        self.student.licence, weights = begun.licence, begun.state_dict()
        new = {key for key in self.student.state_dict() if key not in weights and key.startswith("head.")}
        if new and self.reads_labels:
            print(f"--init_from {source}: its student has no head; that of this one begins anew")
            weights |= {key: tensor for key, tensor in self.student.state_dict().items() if key in new}
        try:
            self.student.load_state_dict(weights)
        except RuntimeError as error:
            line = str(error).splitlines()[1].strip()
            raise UserError(f"--init_from {source}: its student does not fit this one ({line})") from error

    def draw(self, objective: Objective) -> None:
        """Pictures of the run into its report: losses, what was observed, and the objective's own."""
        from distill.run.pictures import draw_losses, draw_observed, save_figure

        names = list(objective.weights)
        of = f" of {' and '.join(self.teachers)}" if self.teachers else ""
        draw_losses(self.run.metrics, self.run.report / "losses.png", self._objective.name + of, names)
        draw_observed(self.run.metrics, self.run.report / "observed.png", names)
        first = range(min(4, len(self.manifest)))
        clips = ClipDataset(self.manifest, self.student.sample_rate, self.crop, self.manifest.classes)
        loaded = clips.__getitems__(Draws(first, first))
        if loaded.batch is not None:
            with torch.inference_mode():
                for name, figure in objective.pictures(loaded.batch).items():
                    save_figure(figure, self.run.report / f"{name}.png")

    def _finish(self, fitting: L.Trainer, objective: Objective, set_aside: int) -> Student:
        student = self.student.cpu().eval()
        measured = {name: value for name, value in fitting.callback_metrics.items() if name.startswith("validation_")}
        results = {name.replace("_", " "): round(float(value), 4) for name, value in sorted(measured.items())}
        student.licence = inherited_licence(student, self.teachers.values())
        card = model_card(student, self.teachers, self.config, results, len(self.manifest) - set_aside)
        save_student(student, self.run.student, card)
        self.draw(objective.cpu().eval())
        described = ", ".join(f"{name} {value}" for name, value in results.items())
        print(f"student of {student.parameter_count():,} parameters in {self.run.student} {described}".rstrip())
        return student


def _several(parts: Written | Teacher | Sequence[Written | Teacher] | None) -> list[Written | Teacher]:
    """Return one part, several or none as a list."""
    if parts is None or isinstance(parts, str | Mapping | Teacher):
        return [] if parts is None else [parts]
    return list(parts)


def _first_draws(data: AudioData) -> list[str]:
    """Ids of as many draws as there are clips: sounds that are drawn often count often in the statistics of targets."""
    drawn = data.order.indices(0, 0, min(len(data.train_clips), _STATISTICS_DRAWS))
    return [data.train_clips.manifest.rows[row].id for row in drawn]


def _share(clip_id: str) -> float:
    """A number in [0, 1) that belongs to an id: which clips are held out does not depend on the others."""
    return int.from_bytes(hashlib.sha256(clip_id.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
