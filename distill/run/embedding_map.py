"""A map of embeddings: which clips it shows, where they lie, their colours and their sounds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import Data, read_manifest
from distill.data.errors import UserError
from distill.data.files import write_text
from distill.data.sampling.clusters import cluster
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import TextIndex
from distill.evaluation.pictures import map_figure
from distill.evaluation.plane import Grouping, plane_of
from distill.run.clusters import kept_clustering
from distill.run.embeddings import fill_store
from distill.run.encoders import encoder_of
from distill.run.folder import Run
from distill.run.held_out import part_clips
from distill.run.listening import MAX_BYTES, excerpts
from distill.run.map_page import Shown, map_page
from distill.run.options import FitOptions
from distill.run.pictures import save_figure

MAX_CLIPS = 2_000
"""Clips of a map. More points hide each other, and a page with their sounds is slow to load."""
_CLUSTERS = 10  # where none were computed by `distill cluster`


def draw_store(store: EmbeddingStore, data: Data, folder: Path) -> list[Path]:
    """Draw a map of a store: map.png and map.html. Of more than 2,000 clips, random ones are drawn.

    Args:
        store: The embeddings.
        data: The clips, for sounds, labels and splits. An empty path: the map has clusters only.
        folder: Folder of the files.

    Returns:
        The files.

    Raises:
        UserError: the store holds fewer than 2 clips of the data.
    """
    return _draw(store, read_manifest(data).labelled() if data.path else None, folder, store.path.resolve().name)


def draw_student(run: Run, data: Data, folder: Path, allow_import: str | None = None) -> list[Path]:
    """Draw a map of the embeddings of a trained student: map.png and map.html.

    Args:
        run: Run folder with a student.
        data: The clips. An empty path: the clips that the run held out; without such clips, all of its data.
        folder: Folder of the files.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Returns:
        The files.

    Raises:
        UserError: there is no student, the data cannot be read, or fewer than 2 clips can be embedded.
    """
    options = FitOptions.from_config(run.config)
    encoder = encoder_of(None, str(run.path), allow_import)
    manifest = read_manifest(data if data.path else options.source, "auto" if data.path else options.task).labelled()
    if not data.path:
        held_out = part_clips(manifest, options.fold, options.validation or 0.0).held_out
        manifest = held_out if len(held_out) > 1 else manifest
        print(f"{len(manifest):,} {'held-out clips' if manifest is held_out else 'clips'} of {run.path}")
    manifest = manifest.take(_some(np.arange(len(manifest))))
    with tempfile.TemporaryDirectory() as place:
        crop = replace(options.crop or Crop(), position="centre")
        store = fill_store(encoder, manifest, Path(place) / "store", crop, dtype="float32")
        return _draw(store, manifest, folder, f"student of {run.path.resolve().name}")


def _draw(store: EmbeddingStore, manifest: Manifest | None, folder: Path, title: str) -> list[Path]:
    """Write map.png and map.html of the clips that are in the store and in the manifest."""
    places = np.full(len(store), -1) if manifest is None else TextIndex(manifest.ids).find_all(store.ids)
    rows = np.arange(len(store)) if manifest is None else np.flatnonzero(places >= 0)
    if len(rows) < 2:
        source = "" if manifest is None else f" of {manifest.source}"
        raise UserError(f"--map: {title} holds {len(rows)} clips{source}; a map requires at least 2")
    shown = _some(rows)
    if len(shown) < len(rows):
        print(f"the map shows {len(shown):,} random clips of {len(rows):,}")
    vectors = store.read_rows(shown)
    plane = plane_of(vectors)
    if not plane.has_tsne:
        print("the map is a PCA; t-SNE requires one more package: pip install 'audio-distill[map]'")
    clips = None if manifest is None else manifest.take(places[shown])
    values = _values(clips) | {"cluster": _cluster_names(store, shown, vectors)}
    firsts = {name: [value[0] if value else "" for value in column] for name, column in values.items()}
    groupings = {name: Grouping.of(column) for name, column in firsts.items()}
    texts = {name: [", ".join(value) for value in column] for name, column in values.items()}
    sounds = [b""] * len(shown) if clips is None else excerpts(clips)
    page = Shown(list(store.ids.take(shown)), plane, groupings, texts, sounds)
    files = [folder / "map.png", folder / "map.html"]
    save_figure(map_figure(plane, groupings, title), files[0])
    write_text(files[1], map_page(page, title))
    _print(clips, sounds, files)
    return files


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all rows, or 2,000 random ones, sorted."""
    return rows if len(rows) <= MAX_CLIPS else np.sort(np.random.default_rng(0).choice(rows, MAX_CLIPS, replace=False))


def _values(clips: Manifest | None) -> dict[str, list[Sequence[str]]]:
    """Return the labels and the split of each clip, by "label" and "split", where the data has some."""
    rows: list[Row] = [] if clips is None else list(clips.rows)
    columns: dict[str, list[Sequence[str]]] = {
        "label": [row.labels for row in rows],
        "split": [(row.split,) if row.split else () for row in rows],
    }
    return {name: column for name, column in columns.items() if any(column)}


def _cluster_names(store: EmbeddingStore, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> list[Sequence[str]]:
    """Return the cluster of each clip: that of `distill cluster`, or else of k-means into 10 clusters."""
    kept = kept_clustering(store)
    labels = cluster(vectors, min(_CLUSTERS, len(vectors)))[0] if kept is None else kept.labels[rows]
    return [(str(label),) for label in labels.tolist()]


def _print(clips: Manifest | None, sounds: Sequence[bytes], files: Sequence[Path]) -> None:
    """Print the files, their sizes, and how many clips can be heard."""
    if clips is None:
        print("the clips have no sounds, labels and splits; --data names the folder or table of the clips")
    elif without := sum(not sound for sound in sounds):
        print(
            f"{without:,} of {len(sounds):,} clips have no sound in the page: they cannot be read, or earlier sounds "
            f"fill {MAX_BYTES >> 20} MiB"
        )
    for path in files:
        print(f"{path}  {max(0.1, path.stat().st_size / 2**20):.1f} MiB")
