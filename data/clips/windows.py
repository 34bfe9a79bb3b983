"""Windows and views of clips as clips of their own, so that each has an embedding of its own."""

from __future__ import annotations

import csv
import io
import json
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.crop import clip_seconds
from distill.data.clips.manifest import Manifest, Rows
from distill.data.clips.views import ClipViews, ViewColumn, Views, clip_name, view_name
from distill.data.errors import UserError
from distill.data.files import write_atomically
from distill.data.store.texts import FewTexts, Texts

_COLUMNS = ("id", "path", "start", "end", "labels", "split", "domain")


def in_windows(
    manifest: Manifest, seconds: float, hop: float, counts: Callable[[NDArray[np.float64]], NDArray[np.int64]]
) -> Manifest:
    """Return a manifest with a row for each window of each clip. A window of "a.wav" has the id "a.wav@START".

    START is in seconds from the start of the file, also for a clip that is itself a part of a file. The last window of
    a clip may be shorter. A file that cannot be read keeps its row, so that decoding reports the reason.

    Args:
        manifest: The clips. The headers of clips of unknown length are read.
        seconds: Length of a window.
        hop: Seconds from the start of one window to the start of the next.
        counts: Returns the number of windows of clips from their lengths in seconds (clips,).
    """
    rows = manifest.rows
    lengths = clip_seconds(manifest)
    is_known = lengths > 0
    repeats = np.where(is_known, counts(lengths), 1)
    numbers = np.repeat(np.arange(len(rows)), repeats)
    place = np.arange(len(numbers)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    offsets = np.round(place * hop, 6)
    left = np.round(lengths[numbers] - offsets, 6)
    durations = np.where(is_known[numbers], np.minimum(seconds, left), rows.durations[numbers])
    starts = np.round(rows.starts[numbers] + offsets, 6)
    windowed = replace(
        rows,
        ids=_ids(rows.ids, repeats, is_known, starts),
        paths=_paths(rows, numbers),
        starts=starts,
        durations=durations,
        labels=rows.labels.take(numbers),
        splits=rows.splits.take(numbers),
        annotated=rows.annotated.take(numbers),
        parts=None if rows.parts is None else rows.parts.take(numbers),
        domains=None if rows.domains is None else rows.domains.take(numbers),
    )
    return Manifest(manifest.source, windowed, manifest.notes)


def in_views(manifest: Manifest, views: Views) -> Manifest:
    """Return a manifest with a row for each view of each clip. View 1 of "a.wav" has the id "a.wav@view1".

    View 0 keeps the id of the clip. With one view, the manifest stays as it is.

    Args:
        manifest: The clips.
        views: Settings of the views.

    Raises:
        UserError: a clip has the name of a view already, or there is no other clip to mix with.
    """
    if views.count == 1:
        return manifest
    if name := next((clip_id for clip_id in manifest.ids if clip_name(clip_id) != clip_id), ""):
        raise UserError(f"{manifest.source}: the clip {name!r} has the name of a view; rename it")
    rows = manifest.rows
    if views.mixup and len(rows) < 2:
        raise UserError(f"--views.mixup: {manifest.source} has one clip, and none to mix it with")
    clips = ClipViews(rows, views, views.partners(rows.ids) if views.mixup else None)
    places = np.repeat(np.arange(len(rows)), views.count)
    numbers = np.tile(np.arange(views.count, dtype=np.int32), len(rows))
    viewed = replace(
        rows.take(places),
        ids=Texts.of(view_name(clip_id, number) for clip_id in rows.ids for number in range(views.count)),
        paths=_paths(rows, places),
        views=ViewColumn(clips, places.astype(np.int32), numbers),
    )
    return Manifest(manifest.source, viewed, manifest.notes)


def write_windows(manifest: Manifest, path: Path) -> None:
    """Write the rows of a manifest as a table that `--data` reads: id, path, start, end, labels, split and domain.

    There is no column of domains if the data names none.
    Paths are relative to `root_of(manifest)` where the files lie below it. Labels are lists in JSON. Without
    any, the names of the folders are labels, but not that of a single folder without folders in it.
    """
    labelled = manifest.labelled()
    rows, root = (manifest if labelled.classes == (".",) else labelled).rows, f"{root_of(manifest)}/"
    paths = rows.ids if rows.paths is None else rows.paths
    texts = [json.dumps(list(labels), ensure_ascii=False) if labels else "" for labels in rows.labels.values]
    named = [rows.splits, *([] if rows.domains is None else [rows.domains])]
    names = (tuple(column[number][0] for column in named) for number in range(len(rows)))

    def write(file: BinaryIO) -> None:
        # Names of files that are not UTF-8 keep their bytes.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        table = csv.writer(text)
        table.writerow(_COLUMNS[: 5 + len(named)])
        table.writerows(
            (name, path.removeprefix(root), _text(start), "" if end != end else _text(end), texts[code], *others)
            for name, path, start, end, code, others in zip(
                rows.ids, paths, rows.starts.tolist(), (rows.starts + rows.durations).tolist(),
                rows.labels.codes.tolist(), names, strict=True,
            )
        )  # fmt: skip
        text.flush()
        text.detach()  # the caller closes the file

    write_atomically(path, write)


def root_of(manifest: Manifest) -> Path:
    """Return the folder of the audio: the source of the manifest, the folder of a table, or the root beside it."""
    root = manifest.rows.root
    return root if root.is_dir() else root.parent


def _ids(ids: Texts, repeats: NDArray[np.int64], is_known: NDArray[np.bool_], starts: NDArray[np.float64]) -> Texts:
    """Return the name of each window."""
    data, ends, window = bytearray(), array("q"), 0
    for clip_id, count, known in zip(ids, repeats.tolist(), is_known.tolist(), strict=True):
        name = clip_id.encode("utf-8", "surrogateescape")
        for start in starts[window : window + count].tolist():
            data += name + b"@" + _text(start).encode() if known else name
            ends.append(len(data))
        window += count
    return Texts(np.frombuffer(data, np.uint8), np.frombuffer(ends, np.int64))


def _paths(rows: Rows, numbers: NDArray[np.int64]) -> FewTexts:
    """Return the path of the clip at each of `numbers`. Each path is kept once."""
    if isinstance(rows.paths, FewTexts):
        return rows.paths.take(numbers)
    paths = Texts.of(f"{rows.root}/{clip_id}" for clip_id in rows.ids) if rows.paths is None else rows.paths
    return FewTexts(paths, numbers.astype(np.int32))


def _text(seconds: float) -> str:
    """Return seconds as text, to the microsecond and without needless zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
