"""One run of `fit`: what it is made of, what it would take, and the run itself."""

from __future__ import annotations

import hashlib
import logging
import resource
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch

from distill.card import model_card
from distill.commands.cluster import clustering_of
from distill.commands.embed import Rate, fill_store, forecast, report_set_aside
from distill.components import build, complete, normalise
from distill.data.dataset import ClipDataset, Crop
from distill.data.errors import UserError
from distill.data.files import lock
from distill.data.manifest import Manifest, read_manifest
from distill.data.module import AudioData
from distill.data.sampling import ClusterOrder, Draws, Order, UniformOrder
from distill.data.store import EmbeddingStore
from distill.objectives import OBJECTIVES
from distill.objectives.objective import Objective
from distill.report import draw_losses
from distill.runs import Run, load_student, save_student
from distill.students import STUDENTS
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.precomputed import Precomputed
from distill.teachers.teacher import Teacher
from distill.training import AtomicCheckpoints, Distiller, KeepAlive, Optimizer, Progress

T = TypeVar("T")
POLICIES = ("uniform", "cluster")
# What may differ when a run goes on: how long and where, not what is learned from what.
_MAY_CHANGE = {"epochs", "engine", "out"}


@dataclass(frozen=True)
class Sampling:
    """How training clips are drawn.

    Args:
        policy: "uniform", or "cluster": every cluster of the teacher's embeddings equally often (S-SONDO).
        clusters: How many clusters.
        draws: Clips in an epoch; 0 is as many as there are.
    """

    policy: str = "uniform"
    clusters: int = 50
    draws: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: one of {', '.join(POLICIES)} is wanted")


@dataclass(frozen=True)
class Engine:
    """Where and how training runs; Lightning's words.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        devices: How many.
        strategy: Such as "auto" or "ddp".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        workers: Processes per device that decode audio.
        checkpoint_minutes: Between two checkpoints at the most; there is one at the end of every epoch too.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int = 1
    checkpoint_minutes: float = 10.0


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
        self.crop = _as(Crop, settings["crop"])
        self.sampling = _as(Sampling, settings["sampling"])
        self.optimizer = _as(Optimizer, settings["optimizer"])
        self.engine = _as(Engine, settings["engine"])
        self.live: bool = settings["live"]
        self.seed: int = settings["seed"]
        self.epochs: int = settings["epochs"]
        self.batch_size: int = settings["batch_size"]
        self.validation: float = settings["validation"]
        self.store_path = Path(settings["store"] or run.path / "embeddings")
        if self.crop.position == "random" and not self.live:
            raise UserError("--crop.position random needs --live true: a stored embedding belongs to one crop")
        if self.sampling.policy == "cluster" and self.live:
            raise UserError("--sampling.policy cluster needs the teacher's stored embeddings; leave --live out")
        self.manifest = read_manifest(settings["data"])
        self.teacher: Teacher = build(settings["teacher"], TEACHERS)
        torch.manual_seed(self.seed)
        self.student: Student = build(settings["student"], STUDENTS)
        if settings["init_from"]:
            self._take_weights(settings["init_from"])
        named = normalise(settings["objective"], OBJECTIVES)
        self._objective = complete(named, OBJECTIVES, given={"student", "teacher"})
        self.objective(self.teacher)  # a mistake in its options shows now, and not after the embedding
        self.config: dict[str, Any] = {
            **settings,
            **{name: asdict(getattr(self, name)) for name in ("crop", "sampling", "optimizer", "engine")},
            "teacher": normalise(self.teacher, TEACHERS),
            "student": normalise(self.student, STUDENTS),
            "objective": self._objective,
            "data": str(settings["data"]),
            "out": str(run.path),
        }

    def objective(self, teacher: Teacher) -> Objective:
        """The objective with this teacher, its heads initialised from the seed."""
        torch.manual_seed(self.seed + 1)
        named = self._objective
        return OBJECTIVES.create(named["class_path"], student=self.student, teacher=teacher, **named["init_args"])

    def check_same_run(self) -> None:
        """Raise UserError where a resumed run would be another one than the one in the folder."""
        before = self.run.config
        changed = sorted(name for name in self.config if self.config[name] != before.get(name))
        if forbidden := [name for name in changed if name not in _MAY_CHANGE]:
            differences = "; ".join(f"{name} was {before.get(name)}, is {self.config[name]}" for name in forbidden)
            raise UserError(f"--resume goes on with the same run, but {differences}. A new run: --out elsewhere")

    def train(self, resume: bool) -> Student:
        """Embed, cluster, train, and save the student. The caller holds the lock on the run."""
        if resume and (self.run.student / "config.json").exists() and self.run.config["epochs"] == self.epochs:
            print(f"{self.run.path} has ended already; its student is in {self.run.student}")
            return load_student(self.run.path)
        self.run.write_config(self.config)
        teacher, manifest = self.teacher, self.manifest
        if not self.live:
            store = self.embeddings()
            teacher, manifest = Precomputed(store.path), manifest.subset(r for r in manifest.rows if r.id in store)
        data = self.data(manifest, max(self.student.sample_rate, teacher.sample_rate) if self.live else None)
        steps = len(data.sampler())
        module = Distiller(self.objective(teacher), self.optimizer, steps)
        keep_alive = KeepAlive(self.run.checkpoints, data, self.engine.checkpoint_minutes)
        torch.manual_seed(self.seed + 2)
        with _quiet():
            trainer = self._trainer(data, [keep_alive, Progress(self.run.metrics, data)])
            trainer.fit(module, datamodule=data, ckpt_path=self._checkpoint() if resume else None, weights_only=True)
        set_aside = module.set_aside if self.live else {clip.id: clip for clip in store.set_aside}
        report_set_aside(set_aside.values(), self.manifest, self.run.path / "set_aside.csv")
        if keep_alive.stopped_by:
            raise Stopped(
                f"stopped at batch {data.batches_done} of {steps}; go on with: "
                f"distill fit --resume true --out {self.run.path}",
                keep_alive.stopped_by,
            )
        return self._finish(trainer, len(set_aside))

    def embeddings(self) -> EmbeddingStore:
        """The teacher's embeddings of all clips, computed where they are not there."""
        if isinstance(self.teacher, Precomputed):
            return self.teacher.store
        with lock(self.store_path, "distill fit"):
            return fill_store(
                self.teacher,
                self.manifest,
                self.store_path,
                self.crop,
                min(self.batch_size, 16),
            )

    def data(self, manifest: Manifest, sample_rate: int | None = None) -> AudioData:
        """Training and validation clips, and their order."""
        held_out = {row.id for row in manifest.rows if _share(row.id) < self.validation}
        train = manifest.subset(row for row in manifest.rows if row.id not in held_out)
        if not train.rows:
            raise UserError(f"--validation {self.validation} leaves none of {len(manifest)} clips to train on")
        rate = sample_rate or self.student.sample_rate
        classes = manifest.classes
        clips = ClipDataset(train, rate, self.crop, classes, self.seed)
        watched = ClipDataset(
            manifest.subset(row for row in manifest.rows if row.id in held_out), rate, self.crop, classes
        )
        return AudioData(clips, watched, self._order(train), self.batch_size, self.epochs, self.engine.workers)

    def _order(self, train: Manifest) -> Order:
        draws = self.sampling.draws or len(train)
        if self.sampling.policy == "uniform":
            return UniformOrder(len(train), self.seed, draws)
        store = self.embeddings()
        clusters = clustering_of(
            store, self.run.path / "clusters", self.sampling.clusters, normalise=False, seed=self.seed
        )
        label = dict(zip(clusters.ids, clusters.labels.tolist(), strict=True))
        return ClusterOrder(torch.tensor([label[row.id] for row in train.rows]).numpy(), self.seed, draws)

    def _trainer(self, data: AudioData, callbacks: list[L.Callback]) -> L.Trainer:
        return L.Trainer(
            accelerator=self.engine.accelerator,
            devices=self.engine.devices,
            strategy=self.engine.strategy,
            precision=self.engine.precision,  # type: ignore[arg-type]
            max_epochs=1,  # of Lightning: all of our epochs are one pass, so that a position is one number
            val_check_interval=data.sampler().batches_per_epoch,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if len(data.validation_clips) else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # ours gives every rank its slice
            callbacks=callbacks,
            plugins=[AtomicCheckpoints()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self.run.path,
        )

    def _checkpoint(self) -> Path | None:
        checkpoint, damaged = self.run.newest_checkpoint()
        for path in damaged:
            print(f"{path} is damaged and left out")
        print(f"going on from {checkpoint}" if checkpoint else "no checkpoint yet: beginning again")
        return checkpoint

    def _take_weights(self, source: str) -> None:
        other = load_student(source)
        try:
            self.student.load_state_dict(other.state_dict())
        except RuntimeError as error:
            line = str(error).splitlines()[1].strip()
            raise UserError(f"--init_from {source}: its student does not fit this one ({line})") from error

    def _finish(self, trainer: L.Trainer, set_aside: int) -> Student:
        student = self.student.cpu().eval()
        loss = trainer.callback_metrics.get("validation_loss")
        results = {} if loss is None else {"validation loss": round(float(loss), 4)}
        card = model_card(student, self.teacher, self.config, results, len(self.manifest) - set_aside)
        save_student(student, self.run.student, card)
        draw_losses(self.run.metrics, self.run.report / "losses.png")
        described = ", ".join(f"{name} {value}" for name, value in results.items())
        print(f"student of {student.parameter_count():,} parameters in {self.run.student} {described}".rstrip())
        return student

    def dry_run(self) -> None:
        """One batch through everything, and what the run would take. Writes nothing."""
        rate = max(self.student.sample_rate, self.teacher.sample_rate)
        clips = ClipDataset(self.manifest, rate, self.crop, self.manifest.classes, self.seed)
        first = range(min(self.batch_size, len(clips)))
        begin = time.perf_counter()
        loaded = clips.__getitems__(Draws(first, first))
        decoding = time.perf_counter() - begin
        if loaded.batch is None:
            raise UserError(f"no clip of the first batch could be read; the first: {loaded.set_aside[0].reason}")
        objective = self.objective(self.teacher)
        forward = forecast(self.teacher, loaded, len(self.manifest))
        seconds = _step_seconds(objective, loaded)
        if not self.live:  # the run reads what the teacher has said
            seconds = max(seconds - len(loaded.batch) / forward.clips_per_second, 1e-6)
        self._print_forecast(forward, decoding, seconds, len(loaded.batch))

    def _print_forecast(self, teacher: Rate, decoding: float, step: float, clips: int) -> None:
        steps = self.epochs * -(-len(self.manifest) // self.batch_size)
        total = steps * step + (0.0 if self.live else teacher.seconds)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        for role, encoder in (("teacher", self.teacher), ("student", self.student)):
            named = self.config[role]
            print(
                f"{role}: {named['class_path']}, {encoder.parameter_count():,} parameters, {encoder.sample_rate} Hz, "
                f"clip {encoder.clip_dim}, frame {encoder.frame_dim} every {encoder.frame_hop:.3f} s, {encoder.licence}"
            )
        classes = len(self.manifest.classes)
        print(f"data: {len(self.manifest):,} clips, {classes} classes; decoding {clips / decoding:.1f} clips/s")
        print(f"teacher forward {teacher.clips_per_second:.1f} clips/s; training step {clips / step:.1f} clips/s")
        print(f"memory now {memory:.2f} GiB; embeddings {teacher.bytes / 2**20:.1f} MiB on disk")
        print(f"about {total / 60:.1f} minutes for {steps:,} steps in {self.epochs} epochs here; nothing was written")


def _step_seconds(objective: Objective, loaded: Any) -> float:
    """Time of one forward and backward pass, the second of two."""
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        objective.total(objective(loaded.batch)).backward()
        seconds = time.perf_counter() - begin
        objective.zero_grad()
    return seconds


def _as(kind: type[T], value: Any) -> T:
    """A settings object from itself or from the mapping that config.yaml holds."""
    if isinstance(value, kind):
        return value
    try:
        return kind(**(value or {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind.__name__.lower()}: {error}") from error


def _share(clip_id: str) -> float:
    """A number in [0, 1) that belongs to an id: which clips are held out does not depend on the others."""
    return int.from_bytes(hashlib.sha256(clip_id.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on what is meant so."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in ("does not have many workers", "You're resuming from a checkpoint", "mid-epoch", "LeafSpec"):
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        try:
            yield
        finally:
            logger.setLevel(level)
