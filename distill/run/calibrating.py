"""The calibration of a trained student on clips that it was not trained on."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest
from distill.data.errors import listed
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.calibration import Calibrated, calibrate
from distill.evaluation.scoring import labels_of, linear_head
from distill.run.classifying import Scorer
from distill.run.identity import data_digest
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier
from distill.students.saved import save_student
from distill.students.student import Student

_PICTURE = "reliability.png"


def calibrate_student(student: Student, clips: ClipDataset, batch_size: int, report: Path) -> list[str]:
    """Set temperature and thresholds of a student that was trained on labels, and draw its reliability.

    Args:
        student: The student. Its classifier is replaced. Without one, nothing is done.
        clips: Held-out clips with labels. There may be none.
        batch_size: Clips per batch.
        report: Folder of the picture.

    Returns:
        Lines that say what was done.
    """
    if student.classifier is None:
        return []
    classifier = student.classifier
    batches = list(Scorer(student, classifier, batch_size, 0).scores(clips.manifest, Crop(clips.crop.seconds), ""))
    rows = np.array([row for batch in batches for row in batch.rows], np.int64)
    logits = np.concatenate([batch.logits for batch in batches] or [np.zeros((0, len(student.labels)), np.float32)])
    labels = labels_of(list(clips.manifest.rows.take(rows)), student.labels)
    found = calibrate(classifier, logits, labels.truth, labels.known)
    student.classifier = found.classifier
    draw_reliability(found, report)
    return [found.line()]


def keep_head(
    student: Student, card: str, store: EmbeddingStore, manifest: Manifest, task: str, metric: str, crop: Crop,
    folder: Path,
) -> list[str]:  # fmt: skip
    """Save a copy of a student with the calibrated head of a linear probe.

    Args:
        student: The student. It is not changed.
        card: Its model card.
        store: Its embeddings of the clips.
        manifest: Labelled clips.
        task: Name of the data set, which has a metric; "auto" means none.
        metric: Name of the metric by which the penalty is chosen.
        crop: Part of each clip that was embedded.
        folder: Folder of the probe. The student is saved in `student/`, the picture beside it.

    Returns:
        Lines that say what was kept.
    """
    rows = list(manifest.rows.take(np.flatnonzero(store.rows_of(manifest.ids) >= 0)))
    labels = labels_of(rows, manifest.classes)
    head, held_out, logits = linear_head(store[[row.id for row in rows]], labels, task, metric)
    kind = ONE_OF if labels.single else MANY
    classifier = Classifier(kind, head, crop_seconds=crop.seconds, data=data_digest(manifest))
    known = None if labels.known is None else labels.known[held_out]
    found = calibrate(classifier, logits, labels.truth[held_out], known)
    draw_reliability(found, folder)
    kept = copy.deepcopy(student).cpu()
    kept.labels, kept.classifier = labels.names, found.classifier
    names = listed(labels.names)
    text = f"\n## Classes\n\nA linear head of `distill probe` on {manifest.source}: {names}. {found.line()}.\n"
    save_student(kept, folder / "student", card + text)
    return [
        f"  {found.line()}",
        f"  the head is kept: distill predict --model {folder} --data SOUNDS --out classes.csv",
    ]


def draw_reliability(found: Calibrated, folder: Path) -> None:
    """Draw the reliability before and after calibration. Without held-out clips, an earlier picture is deleted."""
    if not found.clips:
        (folder / _PICTURE).unlink(missing_ok=True)
        return
    from distill.evaluation.pictures import reliability_figure
    from distill.run.pictures import save_figure

    measured = {"before:": found.before, "after:": found.after}
    save_figure(reliability_figure(measured, f"{found.clips:,} held-out clips"), folder / _PICTURE)
