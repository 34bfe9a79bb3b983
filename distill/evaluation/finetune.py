"""The protocol `finetune`: train a linear head and all weights of an encoder."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.loading import InOrder, loader
from distill.data.clips.manifest import Manifest
from distill.data.clips.module import AudioData
from distill.data.errors import UserError
from distill.data.sampling.batches import batches_per_epoch
from distill.data.sampling.orders import UniformOrder
from distill.data.store.format import SetAside
from distill.evaluation.scoring import Scored, choose_metric, collect, labels_of, usable_splits
from distill.evaluation.settings import FineTuning
from distill.evaluation.splits import Split
from distill.objectives.classification import Classification, loss_for
from distill.students.heads import Head
from distill.students.student import Student
from distill.training.distiller import Distiller
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer
from distill.training.trainer import quiet, trainer


class Classifier(Student):
    """An encoder with a new head on its clip embedding, whose own logits are not used.

    Args:
        encoder: Encoder; it is trained too.
        classes: Number of classes.
    """

    def __init__(self, encoder: Student, classes: int) -> None:
        super().__init__()
        self.sample_rate, self.windows = encoder.sample_rate, encoder.windows
        self.longest_window, self.whole_seconds = encoder.longest_window, encoder.whole_seconds
        self.encoder = encoder
        self.head = Head(encoder.clip_dim, classes)

    def on_progress(self, share: float) -> None:
        """Pass the progress of training, from 0 to 1, to the encoder."""
        self.encoder.on_progress(share)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Return the embeddings of a batch, with logits."""
        embeddings = self.encoder.encode(batch)
        return embeddings._replace(logits=self.head(embeddings.clip))


def readable(clips: ClipDataset, batch_size: int, workers: int) -> tuple[Manifest, list[SetAside]]:
    """Return the clips that can be decoded, and the others. So all protocols leave out the same clips."""
    manifest = clips.manifest
    batches = loader(clips, InOrder(len(clips), batch_size), workers)
    set_aside = [clip for loaded in batches for clip in loaded.set_aside]
    broken = {clip.id for clip in set_aside}
    return manifest.subset(row for row in manifest.rows if row.id not in broken), set_aside


def score_finetuned(
    student: Student,
    manifest: Manifest,
    crop: Crop,
    settings: FineTuning,
    folder: Path,
    seeds: int = 1,
    task: str = "auto",
    metric: str = "auto",
    engine: Engine = Engine(workers=0),
) -> Scored:
    """Fine-tune on every split with every seed, and score the held-out clips.

    Args:
        student: Encoder to start from; it is not changed.
        manifest: Labelled clips.
        crop: Part of each clip that is used.
        settings: Settings of training.
        folder: Lightning's working folder.
        seeds: Number of seeds.
        task: Name of the data set, which has a metric; "auto" means none.
        metric: "accuracy", "mAP", "AUC", "d_prime", "F1" or "auto".
        engine: Device, and number of processes that decode audio.

    Raises:
        UserError: a clip cannot be decoded (see `readable`), or the metric does not fit the labels.
    """
    labels = labels_of(manifest.rows, manifest.classes)
    metric = choose_metric(metric, task, labels)
    runs = []
    for seed in range(seeds):
        run = []
        for split in usable_splits(labels, seed):
            classifier = _fine_tune(student, manifest, split, crop, settings, folder, seed, engine)
            run.append((split, _scores(classifier, manifest, split, crop, settings.batch_size, engine.workers)))
        runs.append(run)
    return collect(runs, labels, "finetune", task, metric)


def _fine_tune(
    student: Student, manifest: Manifest, split: Split, crop: Crop, settings: FineTuning, folder: Path, seed: int,
    engine: Engine,
) -> Classifier:  # fmt: skip
    """Return a classifier trained on the training clips of a split."""
    torch.manual_seed(seed)
    classifier = Classifier(copy.deepcopy(student), len(manifest.classes))
    train = manifest.subset(manifest.rows[row] for row in split.train.tolist())
    clips, no_validation = (
        ClipDataset(part, student.sample_rate, crop, manifest.classes, seed) for part in (train, manifest.subset([]))
    )
    order = UniformOrder(len(train), seed)
    batches = settings.epochs * batches_per_epoch(order, settings.batch_size)
    data = AudioData(clips, no_validation, order, settings.batch_size, batches, engine.workers)
    optimizer = Optimizer(learning_rate=settings.learning_rate, weight_decay=0.01, warmup=0.1)
    module = Distiller(Classification(classifier, loss=loss_for(manifest)), optimizer, len(data.sampler()))
    with quiet():
        trainer(engine, data, [], folder).fit(module, datamodule=data)
    return classifier


@torch.inference_mode()
def _scores(
    classifier: Classifier, manifest: Manifest, split: Split, crop: Crop, batch_size: int, workers: int
) -> NDArray[np.float32]:
    """Return the logits of the test clips of a split. Shape (clips, classes)."""
    classifier.eval()
    test = manifest.subset(manifest.rows[row] for row in split.test.tolist())
    clips = ClipDataset(test, classifier.sample_rate, crop)
    scores = []
    for loaded in loader(clips, InOrder(len(test), batch_size), workers):
        if loaded.set_aside or loaded.batch is None:
            first = loaded.set_aside[0]
            raise UserError(f"{first.id} cannot be scored ({first.reason}: {first.detail}); remove it from the table")
        scores.append(classifier(loaded.batch.to(classifier.device)).logits.cpu().float().numpy())
    return np.concatenate(scores)
