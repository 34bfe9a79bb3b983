"""`distill probe`: how much a linear classifier can read from frozen embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from distill.commands.embed import encoder_of, fill_store, introduction, report_set_aside
from distill.components import Spec, normalise
from distill.data.dataset import Crop
from distill.data.errors import UserError
from distill.data.files import lock, write_json
from distill.data.layouts import LAYOUTS
from distill.data.manifest import Manifest, read_manifest
from distill.data.store import EmbeddingStore
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher

PROTOCOL = "linear"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the L2 penalty; chosen on a part of the training clips
TASKS = ("auto", *LAYOUTS)


@dataclass(frozen=True)
class ProbeResult:
    """Scores of one encoder on one data set.

    Args:
        protocol: Name of how it was measured; scores of different protocols are not to be compared.
        task: Of the data set.
        accuracy: Mean over folds.
        spread: Standard deviation over folds; 0 with one.
        folds: Accuracy of each fold, by its name.
        clips: Clips that were used.
        classes: How many.
    """

    protocol: str
    task: str
    accuracy: float
    spread: float
    folds: dict[str, float]
    clips: int
    classes: int


def probe(
    data: str,
    model: str | None = None,
    teacher: Spec | Teacher | None = None,
    task: str = "auto",
    out: str = "",
    crop: Crop | None = None,
    batch_size: int = 16,
    workers: int = -1,
    device: str = "auto",
    allow_import: str | None = None,
) -> ProbeResult:
    """Train a linear classifier on frozen embeddings and print its accuracy on clips it has not seen.

    Folds or splits are the data's own (a column `fold` or `split`, or the ESC-50 layout); where there are none, five
    folds are made. The L2 penalty is chosen on a fifth of the training clips, never on the test clips, and the last
    state of training is scored, not the best.

    Args:
        data: Labelled clips: a table, a folder in the ESC-50 layout, or a folder with one sub-folder a class.
        model: Trained student: a run folder, a student folder or a hub id.
        teacher: Encoder, where it is a teacher.
        task: Data set that the folder must be, such as "esc50" or "nsynth_pitch"; "auto" finds out.
        out: Folder of the embeddings and the result; by default `probe/NAME-OF-DATA` in the run.
        crop: Part of each clip that is embedded.
        batch_size: Clips in a batch.
        workers: Processes that decode audio; -1 chooses as `distill embed` does.
        device: "cpu", "cuda" or "auto".
        allow_import: Package of a model's own class that may be imported.

    Returns:
        Accuracy by fold, mean and spread.

    Raises:
        UserError: no labels, no such task, or the folder is not the task's.
    """
    manifest = labelled_manifest(data, task)
    encoder = encoder_of(teacher, model, allow_import)
    print(introduction(encoder))
    folder = Path(out) if out else Path(model or "probe") / "probe" / Path(data).resolve().name
    with lock(folder, "distill probe"):
        store = fill_store(
            encoder, manifest, folder / "embeddings", crop or Crop(), batch_size, "float32", workers, device
        )
        report_set_aside(store.set_aside, manifest, folder / "set_aside.csv")
        result = probe_store(store, manifest, task)
        write_json(folder / "result.json", asdict(result))
    folds = ", ".join(f"{name}: {score:.4f}" for name, score in result.folds.items())
    name = model or normalise(encoder, TEACHERS)["class_path"]
    print(f"{PROTOCOL} probe of {name} on {data}: accuracy {result.accuracy:.4f} +- {result.spread:.4f}")
    print(f"  folds {folds} ({result.clips} clips, {result.classes} classes); written to {folder / 'result.json'}")
    return result


def labelled_manifest(data: str, task: str) -> Manifest:
    """A manifest in which every row has one label; without any, the name of a clip's folder is its label."""
    if task not in TASKS:
        raise UserError(f"--task {task}: one of {', '.join(TASKS)} is wanted")
    manifest = read_manifest(data, task).labelled()
    if len(manifest.classes) < 2:
        raise UserError(f"--data {data}: no labels to probe (a column `label`, or a sub-folder for each class)")
    if several := next((row for row in manifest.rows if len(row.labels) != 1), None):
        raise UserError(f"--data {data}: {several.id!r} has {len(several.labels)} labels; the probe wants one")
    return manifest


def probe_store(store: EmbeddingStore, manifest: Manifest, task: str = "auto") -> ProbeResult:
    """Score embeddings that are in a store already."""
    rows = [row for row in manifest.rows if row.id in store]
    index = {name: number for number, name in enumerate(manifest.classes)}
    labels = np.array([index[row.labels[0]] for row in rows])
    features = store[[row.id for row in rows]]
    folds = _folds([row.split for row in rows], labels)
    scores = {
        name: linear_accuracy(features[train], labels[train], features[test], labels[test])
        for name, (train, test) in folds.items()
    }
    values = list(scores.values())
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return ProbeResult(PROTOCOL, task, float(np.mean(values)), spread, scores, len(rows), len(index))


Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def _folds(splits: Sequence[str], labels: NDArray[np.int64]) -> dict[str, Fold]:
    """Training and test rows by name of the fold."""
    names = np.array(splits)
    if "test" in names:
        return {"test": (np.flatnonzero(names != "test"), np.flatnonzero(names == "test"))}
    if (names == "").any() or len(set(splits)) < 2:
        names = (_shuffled_rank_in_class(labels) % 5 + 1).astype(str)
    return {
        str(fold): (np.flatnonzero(names != fold), np.flatnonzero(names == fold))
        for fold in sorted(set(names.tolist()))
    }


def _shuffled_rank_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each row, counting through the rows of its class in random order."""
    rank = np.empty(len(labels), dtype=np.int64)
    generator = np.random.default_rng(0)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[generator.permutation(rows)] = np.arange(len(rows))
    return rank


def linear_accuracy(
    features: NDArray[Any], labels: NDArray[np.int64], test_features: NDArray[Any], test_labels: NDArray[np.int64]
) -> float:
    """Accuracy on the test rows of a logistic regression on standardised features (rows, dim)."""
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy(((features - mean) / deviation).astype(np.float32))
    y = torch.from_numpy(labels)
    x_test = torch.from_numpy(((test_features - mean) / deviation).astype(np.float32))
    y_test = torch.from_numpy(test_labels)
    classes = int(max(labels.max(), test_labels.max())) + 1
    held_out = torch.from_numpy(_shuffled_rank_in_class(labels) % 5 == 0)
    if not held_out.any() or held_out.all():
        strength = STRENGTHS[2]
    else:
        kept = ~held_out
        strength = max(
            STRENGTHS,
            key=lambda s: _accuracy(_fit(x[kept], y[kept], classes, s), x[held_out], y[held_out]),
        )
    return _accuracy(_fit(x, y, classes, strength), x_test, y_test)


def _fit(x: torch.Tensor, y: torch.Tensor, classes: int, strength: float) -> torch.nn.Linear:
    """Multinomial logistic regression with an L2 penalty on the weights, by L-BFGS from zero."""
    model = torch.nn.Linear(x.shape[1], classes)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) + strength * model.weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return model


@torch.no_grad()
def _accuracy(model: torch.nn.Linear, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((model(x).argmax(1) == y).float().mean())
