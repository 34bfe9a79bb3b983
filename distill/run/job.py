"""One run of `fit`, from its options to the trained student."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill.data.clips.dataset import ClipDataset
from distill.data.clips.manifest import Manifest
from distill.data.clips.views import view_name
from distill.data.files import write_text
from distill.data.sampling.batches import batches_per_epoch
from distill.data.sampling.clusters import Clustering
from distill.data.store.format import SetAside
from distill.data.store.reader import EmbeddingStore
from distill.objectives.objective import Objective
from distill.run.calibrating import calibrate_student
from distill.run.card import inherited_licence, model_card
from distill.run.clusters import clustering_of
from distill.run.embeddings import Upkeep, fill_store
from distill.run.folder import Run
from distill.run.held_out import part_clips
from distill.run.identity import code_digest, data_digest, identity
from distill.run.options import FitOptions
from distill.run.order import Knowledge, draw_order
from distill.run.parts import Parts, check, prepare, resolve
from distill.run.precision import compile_networks
from distill.run.recipe import (
    default_steps,
    plan,
    print_reasons,
    print_shares,
    shares,
    steps_of_budget,
    training_seconds,
)
from distill.run.resuming import Stopped, newest_checkpoint
from distill.run.set_aside import report_set_aside
from distill.run.shares import lock_share
from distill.run.sound_share import printing
from distill.run.start_checks import check_band, check_encoders, check_lengths
from distill.run.targets import check_clips, check_store, usable_clips, usable_partners
from distill.students.saved import load_student, save_student, untrained_copy
from distill.students.student import Student
from distill.teachers.precomputed import Precomputed
from distill.teachers.teacher import Teacher
from distill.training.world import World

if TYPE_CHECKING:  # lightning is slow to import, and commands that only inspect a run do not need it
    from distill.data.clips.lightning import L
    from distill.data.clips.module import AudioData
    from distill.run.quality_table import QualityReport

MORE_SOUND = "the windows of `distill embed --windows` are clips that use all of it"
_STATISTICS_DRAWS = 50_000  # more draws hardly change the statistics of stored embeddings
_SEEDS = 1_000_003  # between the seeds of two processes, whose noise and masks must differ
_VALIDATIONS = 20  # in a run without epochs
_MAX_EMBEDDING_BATCH = 16  # clips; a teacher needs more memory than its student


class Job:
    """A prepared and checked run. No file is written before `train`.

    Args:
        options: Options of the run.
        world: Processes of the run. None: only this one.

    Attributes:
        parts: Clips, teachers, student and objective.
        plan: Crop, batch size, share of held-out clips, and number of steps.
        resolved: Options with the options of every part completed.
        reads_frames: Whether the objective needs the embeddings of the teachers' frames.
        views: Views of the clips on which the student is trained.

    Raises:
        UserError: a part cannot be loaded, or options and parts do not fit each other.
    """

    def __init__(self, options: FitOptions, world: World | None = None) -> None:
        self._began = time.monotonic()
        self.options, self.run, self.world = options, Run(options.out), world or World()
        self.parts: Parts = prepare(options)
        self.plan = plan(options, len(self.parts.manifest), self.parts.teachers, self.parts.student)
        shares(self.plan.batch_size, self.world.size)
        check_lengths(self.parts.manifest, self.plan.crop)
        checked = check(options, self.plan.crop, self.parts)
        self.reads_frames, self.views = checked.reads_frames, checked.views
        self.resolved = resolve(self.plan.applied(options, self.parts.student), self.parts)
        self._stores: dict[str, Path] = {}  # a store is opened once, as that hashes the teacher's weights

    def train(self, resume: bool) -> Student:
        """Train and save the student, after embedding and clustering. Rank 0 must hold the lock on the run.

        Args:
            resume: Whether training continues from the newest checkpoint.

        Returns:
            The trained student in evaluation mode.

        Raises:
            UserError: no clip can be used, or the loss is not finite.
            Stopped: a signal ended the run; a checkpoint is saved.
        """
        config = self.resolved.as_config()
        if resume and self.world.first(lambda: self._has_ended(config)):
            print(f"{self.run.path} has ended already; the student is in {self.run.student}")
            return load_student(self.run.path)
        self.world.first(lambda: self.run.write_config(config))
        print(self.parts.introduction())
        print_reasons(self.plan)
        print_shares(self.plan, self.world.size)
        check_encoders(self.parts.student, self.parts.teachers)
        check_band(self.parts.student, self.parts.teachers.values(), self.parts.manifest)
        teachers = self.teachers()
        self.parts.student.teachers = {name: identity(teacher) for name, teacher in teachers.items()}
        stores = [teacher.store for teacher in teachers.values() if teacher.store is not None]
        manifest = usable_clips(self.parts.manifest, stores, self.views)
        check_clips(len(manifest))
        for name, teacher in teachers.items():
            if teacher.store is not None:
                check_store(name, teacher.store)
        rates = [teacher.sample_rate for teacher in teachers.values() if teacher.store is None]
        data = self.data(manifest, max([self.parts.student.sample_rate, *rates]))
        drawn = first_draws(data)
        for teacher in teachers.values():
            teacher.drawn = drawn
        objective = self.parts.build_objective(teachers, self.options.seed)
        if objective.needs_clusters:
            objective.clusters = self.clusters(data.train_clips.manifest)
        student = self.parts.student
        if student.classifier is not None:  # students that are kept before the end have these facts too
            own_data = data_digest(self.parts.manifest)
            student.classifier = replace(student.classifier, crop_seconds=self.plan.crop.seconds, data=own_data)
        return self._fit(objective, data, [clip for store in stores for clip in store.set_aside], resume)

    @property
    def marks(self) -> dict[str, str]:
        """What must be the same in all processes, by name: code, data and options."""
        if self.world.size == 1:
            return {}
        config = {f"--{name}": str(value) for name, value in self.resolved.as_config().items()}
        return {"code": code_digest(), "data": data_digest(self.parts.manifest), **config}

    def _has_ended(self, config: Mapping[str, Any]) -> bool:
        """Return whether the folder holds a student with the amount of training of `config`."""
        if not (self.run.student / "config.json").exists():
            return False
        before = self.run.config
        return all(before.get(name) == config[name] for name in ("epochs", "max_steps"))

    def teachers(self) -> Mapping[str, Teacher]:
        """Return the teachers for training: the encoders if they run live, otherwise their stored embeddings."""
        if self.options.live:
            return self.parts.teachers
        return {name: Precomputed(self.store(name)) for name in self.parts.teachers}

    def store(self, name: str) -> Path:
        """Return the folder of a teacher's embeddings of all clips. Missing clips are embedded first."""
        if name not in self._stores:
            self._stores[name] = self._embed(name)
        return self._stores[name]

    def _embed(self, name: str) -> Path:
        """Embed all clips with a teacher, and return the folder of its store."""
        teacher, options = self.parts.teachers[name], self.options
        if teacher.store is not None:
            return teacher.store.path
        path = Path(options.store).expanduser() if options.store else self.run.path / "embeddings"
        path = path / name if len(self.parts.teachers) > 1 else path
        batch_size = min(self.plan.batch_size, _MAX_EMBEDDING_BATCH)
        on_sound = printing(self.plan.crop, MORE_SOUND)
        upkeep = Upkeep(continuation=self._continuation(), on_sound=on_sound, world=self.world)
        with self.world.held(lambda: lock_share(path, "distill fit")):
            fill_store(
                teacher, self.parts.manifest, path, self.plan.crop, batch_size, frames=self.reads_frames, upkeep=upkeep
            )
        return path

    def data(self, manifest: Manifest, sample_rate: int) -> AudioData:
        """Return training and held-out clips, and the order in which training clips are drawn.

        Args:
            manifest: Clips that can be used.
            sample_rate: Sample rate of the batches in Hz.
        """
        from distill.data.clips.module import AudioData

        options, amounts = self.options, self.plan
        parting = part_clips(manifest, options.fold, amounts.validation)
        if parting.left_alone:
            print(f"{parting.left_alone} clips of the split 'test' are not used")
        stores = [teacher.store for teacher in self.parts.teachers.values() if teacher.store is not None]
        partners = usable_partners(parting.train, stores, self.views)
        train = ClipDataset(
            parting.train, sample_rate, amounts.crop, manifest.classes, options.seed,
            views=self.views, partners=partners,
        )  # fmt: skip
        held_out = ClipDataset(parting.held_out, sample_rate, amounts.crop, manifest.classes)
        knowledge = Knowledge(lambda: EmbeddingStore(self.store(self._first_teacher)), self.clusters)
        order = draw_order(parting.train, options.sampling, options.seed, knowledge)
        epoch = batches_per_epoch(order, amounts.batch_size)
        counts = [count for count in (amounts.steps, (options.epochs or 0) * epoch) if count]
        return AudioData(
            train,
            held_out,
            order,
            amounts.batch_size,
            batches=min(counts),
            workers=options.engine.workers,
            by_length=amounts.by_length,
            validation_interval=0 if options.epochs else max(1, min(counts) // _VALIDATIONS),
        )

    def clusters(self, train: Manifest) -> Clustering:
        """Return the clusters of the embeddings of the first teacher.

        Args:
            train: Training clips, from which the centroids are computed.
        """
        store = EmbeddingStore(self.store(self._first_teacher))

        def clustering() -> Clustering:
            folder, sampling = self.run.path / "clusters", self.options.sampling
            return clustering_of(store, folder, sampling.clusters, False, self.options.seed, train.ids)

        return self.world.first_then_each(clustering)

    @property
    def _first_teacher(self) -> str:
        return next(iter(self.parts.teachers))

    def _fit(self, objective: Objective, data: AudioData, set_aside: list[SetAside], resume: bool) -> Student:
        """Run the training loop, report the clips that were set aside, and save the student."""
        from distill.training.alarms import Alarms
        from distill.training.batch_norm import first_fixed_step
        from distill.training.distiller import Distiller
        from distill.training.early_stopping import EarlyStopping
        from distill.training.keep_alive import KeepAlive
        from distill.training.kept_students import KeptStudents
        from distill.training.progress import Progress
        from distill.training.trainer import quiet, trainer
        from distill.training.trial import device_of

        options = self.options
        checkpoint = self.world.first(lambda: newest_checkpoint(self.run)) if resume else None
        if options.budget and checkpoint is None:
            self._spend(objective, data)
        steps = data.batches
        fixed_from = first_fixed_step(self.parts.student, steps, data.sorts_by_length)
        module = Distiller(objective, options.optimizer, steps, fixed_from, self.world)
        keep_alive = KeepAlive(self.run.checkpoints, data, options.engine.checkpoint_minutes, self.world)
        early, alarms = EarlyStopping(data), Alarms(data)
        progress = Progress(self.run.metrics, data, world=self.world, loggers=options.engine.logger)
        kept = KeptStudents(self.run.path / "students", data, options.keep_steps, self._keep)
        # Early stopping comes first, so that a checkpoint after a validation holds its loss. The loss falls again when
        # the statistics are fixed, so a run of them is not ended before.
        ends_early = not options.epochs and fixed_from is None
        callbacks = [*([early] if ends_early else []), keep_alive, kept, progress, alarms]
        torch.manual_seed(options.seed + 2 + self.world.rank * _SEEDS)
        if options.engine.compile:
            live = (teacher for teacher in objective.teachers.values() if teacher.store is None)
            compile_networks(device_of(options.engine), self.parts.student, *live)
        with quiet(), closing(progress):
            fitting = trainer(options.engine, data, callbacks, self.run.path, self.world)
            fitting.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            if not keep_alive.stopped_by and data.batches_done % data.validation_interval:
                fitting.validate(module, datamodule=data, verbose=False)
        if early.ended_at:
            print(f"ended at step {early.ended_at:,} of {steps:,}: the held-out loss did not fall any more")
        unusable = {clip.id: clip for clips in self.world.gather(module.set_aside) for clip in clips.values()}
        unusable |= {clip.id: clip for clip in set_aside}
        aside = self.run.path / "set_aside.csv"
        count = self.world.first(lambda: report_set_aside(unusable.values(), self.parts.manifest, aside))
        if number := keep_alive.stopped_by:
            message = f"stopped at batch {data.batches_done} of {steps}; {self._continuation()}"
            raise self.world.shared(Stopped(message, number))
        lines = list(alarms.lines.values())
        self.world.first(lambda: self._finish(fitting, objective, data, count, lines))
        return self.parts.student.cpu().eval()

    def _spend(self, objective: Objective, data: AudioData) -> None:
        """Set the number of steps to that of the budget, and write it to config.yaml.

        The steps are measured on a copy of the student, so that the run itself does not change.
        """
        from distill.training.trial import measured_step

        copied = replace(self.parts, student=copy.deepcopy(self.parts.student))
        trial = copied.build_objective(objective.teachers, self.options.seed)
        trial.clusters = objective.clusters
        step_seconds = measured_step(trial, data, self.options.optimizer, self.options.engine)
        left = training_seconds(self.options.budget, time.monotonic() - self._began)
        # Rank 0 decides, as the others measure another time.
        step_seconds, left = self.world.broadcast((step_seconds, left))
        steps = steps_of_budget(left, step_seconds, len(self.parts.manifest), self.plan.batch_size)
        is_limited = self.options.max_steps or self.options.epochs
        steps = min(steps, data.batches) if is_limited else steps
        default = default_steps(len(self.parts.manifest), self.plan.batch_size)
        print(
            f"--budget {self.options.budget}: {steps:,} steps of {1000 * step_seconds:.0f} ms; "
            f"without a budget {default:,}"
        )
        self.plan = replace(self.plan, steps=steps)
        data.batches, data.validation_interval = steps, max(1, steps // _VALIDATIONS)
        self.resolved = replace(self.resolved, max_steps=steps)
        self.world.first(lambda: self.run.write_config(self.resolved.as_config()))

    def _keep(self, folder: Path) -> None:
        """Save the student in the middle of the run."""
        student, teachers = self.parts.student, self.parts.teachers
        save_student(student, folder, model_card(student, teachers, self.resolved, {}, len(self.parts.manifest)))

    def _continuation(self) -> str:
        """Return the command that continues the run."""
        return f"continue with: distill fit --resume true --out {self.run.path}{self._import_permission()}"

    def _import_permission(self) -> str:
        """Return the option that permits the import of the user's own classes; empty without any."""
        specs = self.resolved.specs()
        names = [spec.name for spec in (*specs.teachers, specs.student, specs.objective) if "." in spec.name]
        return f" --allow_import {names[0].partition('.')[0]}" if names else ""

    def _finish(
        self, fitting: L.Trainer, objective: Objective, data: AudioData, set_aside: int, alarms: list[str]
    ) -> None:
        """Save the student with its card, draw the run, and print the results; the quality comes last."""
        from distill.run.pictures import draw_run

        student, teachers = self.parts.student.cpu().eval(), self.parts.teachers
        measured = {name: value for name, value in fitting.callback_metrics.items() if name.startswith("validation_")}
        results = {name.replace("_", " "): round(float(value), 4) for name, value in sorted(measured.items())}
        # The objective has further teachers of its own, such as the tokenizer of HEAR's second stage.
        student.licence = inherited_licence(student, {**objective.teachers, **teachers}.values())
        student.spaces = objective.spaces()
        lines = calibrate_student(student, data.validation_clips, self.plan.batch_size, self.run.report)
        clips = len(self.parts.manifest) - set_aside
        # Saved before the quality is measured, which takes a while.
        save_student(student, self.run.student, model_card(student, teachers, self.resolved, results, clips))
        quality = self._quality(student, objective, data)
        card = model_card(student, teachers, self.resolved, results, clips, quality)
        write_text(self.run.student / "README.md", card)
        draw_run(self.run, self.resolved, list(objective.weights))
        self.draw_objective(objective.cpu().eval())
        scores = ", ".join(f"{name} {value}" for name, value in results.items())
        print(f"student of {student.parameter_count():,} parameters in {self.run.student} {scores}".rstrip())
        print("\n".join([*lines, *(f"ALARM: {line}" for line in alarms), *quality.lines()]))

    def _quality(self, student: Student, objective: Objective, data: AudioData) -> QualityReport:
        """Measure the quality of the student, and write it to the report as JSON and as a picture."""
        from distill.run.quality import quality_report

        train = data.train_clips
        runnable = {name: teacher for name, teacher in self.parts.teachers.items() if teacher.store is None}
        report = quality_report(
            student,
            untrained_copy(student, self.options.seed),
            objective.teachers,
            data.validation_clips,
            ClipDataset(train.manifest, train.sample_rate, train.crop),  # without views, as the held-out clips are
            self.plan.batch_size,
            encoders=runnable,
        )
        self.run.report.mkdir(parents=True, exist_ok=True)
        write_text(self.run.report / "quality.json", report.as_json())
        report.draw(self.run.report / "quality.png")
        return report

    def draw_objective(self, objective: Objective) -> None:
        """Draw the pictures that the objective provides, of the first clips, into the report."""
        from distill.data.sampling.batches import Draws
        from distill.run.pictures import save_figure

        manifest, first = self.parts.manifest, range(min(4, len(self.parts.manifest)))
        clips = ClipDataset(manifest, self.parts.student.sample_rate, self.plan.crop, manifest.classes)
        loaded = clips.__getitems__(Draws(first, first))
        if loaded.batch is not None:
            with torch.inference_mode():
                for name, figure in objective.pictures(loaded.batch).items():
                    save_figure(figure, self.run.report / f"{name}.png")


def first_draws(data: AudioData) -> list[str]:
    """Return the ids of the clips or views drawn in one epoch, at most 50,000.

    Statistics of the targets weigh each clip by its number of draws.
    """
    clips = data.train_clips
    rows = data.order.indices(0, 0, min(len(clips), _STATISTICS_DRAWS)).tolist()
    numbers = (clips.views.drawn(row, clips.seed, draw) for draw, row in enumerate(rows))
    return [view_name(clips.manifest.ids[row], number) for row, number in zip(rows, numbers, strict=True)]
