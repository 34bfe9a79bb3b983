"""Checks of the teachers' stored embeddings before training: which clips they hold, and whether they teach."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.manifest import Manifest
from distill.data.clips.stamps import mixture_digests
from distill.data.clips.views import Views, clip_name, view_name
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import TextIndex, Texts

_FEW_CLIPS = 50
_SAMPLE = 5000
_MIN_DEVIATION = 1e-4  # of the embeddings, relative to their size; float16 rounds at 5e-4 of each number


def usable_clips(manifest: Manifest, stores: Sequence[EmbeddingStore], views: Views = Views()) -> Manifest:
    """Return the clips that every store holds with all their views, and print the number of missing clips.

    Views that are mixed may be missing: `usable_partners` finds those.

    Args:
        manifest: All clips of the data.
        stores: Stores of the teachers; may be empty.
        views: Views of the clips.

    Raises:
        UserError: there is no such clip.
    """
    held = np.ones(len(manifest), bool)
    for store in stores:
        for number in range(1 if views.mixup else views.count):
            names = (view_name(clip_id, number) for clip_id in manifest.ids) if number else manifest.ids
            held &= store.rows_of(names) >= 0
    if not held.any():
        raise UserError(f"--data {manifest.source}: none of its clips is in {stores[0].path}")
    missing = {manifest.ids[number] for number in np.flatnonzero(~held).tolist()}
    missing -= {clip_name(clip.id) if views.count > 1 else clip.id for store in stores for clip in store.set_aside}
    if missing:
        first = f"{min(missing)!r} first" if len(missing) > 1 else repr(min(missing))
        print(f"{len(missing)} of {len(manifest)} clips are missing from the stores and are not used, {first}")
    return manifest.take(np.flatnonzero(held))


def usable_partners(train: Manifest, stores: Sequence[EmbeddingStore], views: Views) -> NDArray[np.int32] | None:
    """Return the partners of training clips in the views of stores, for `ClipViews`. None: the views are not mixed.

    A view cannot be used if its partner is not a training clip, such as one that is held out. Nor if a store misses it,
    or holds it with another partner or window. The number of these views is printed.

    Args:
        train: Training clips, all of which the stores hold.
        stores: Stores of the views.
        views: Settings of the views.
    """
    if not views.mixup:
        return None
    found = [_stored_partners(train, store, views) for store in stores]
    partners = reduce(lambda one, other: np.where(one == other, one, np.int32(-1)), found)
    mixed = partners[:, 1:]
    if lacking := int((mixed < 0).sum()):
        print(
            f"{lacking:,} of {mixed.size:,} mixed views are not used, since the partner is not a training clip or the "
            "view is not stored; the clip itself takes their place"
        )
    return partners


def _stored_partners(train: Manifest, store: EmbeddingStore, views: Views) -> NDArray[np.int32]:
    """Return the partners in the views of one store, as their rows in `train`. Shape (clips, views)."""
    # An unreadable clip is the partner of others too.
    names = (clip_name(name) for several in (store.ids, (clip.id for clip in store.set_aside)) for name in several)
    stored = Texts.of(dict.fromkeys(names))
    places = TextIndex(stored).find_all(train.ids)
    rows = np.full(len(stored) + 1, -1, np.int32)  # the last is that of no partner
    rows[places] = np.arange(len(train))
    partners = rows[views.partners(stored)[places]]
    digests = store.window_digests()
    for number in range(1, views.count):
        held = store.rows_of(view_name(name, number) for name in train.ids)
        partners[held < 0, number] = -1
        mixed = np.flatnonzero(partners[:, number] >= 0)
        # After an update that was interrupted, some views have the partner of before.
        differs = digests[held[mixed]] != mixture_digests(train.rows, mixed, partners[mixed, number])
        partners[mixed[differs], number] = -1
    return partners


def check_clips(clips: int) -> None:
    """Raise UserError for a single clip, and print a line for few ones.

    Args:
        clips: Number of usable clips.
    """
    if clips < 2:
        raise UserError(f"{clips} usable clip: a student needs at least 2 clips, and some hundreds to be useful")
    if clips < _FEW_CLIPS:
        print(f"{clips} clips are very few: the student will know little beyond them; some hundreds are better")


def check_store(teacher: str, store: EmbeddingStore) -> None:
    """Raise UserError if the embeddings of a store teach nothing: all are equal.

    Args:
        teacher: Name of the teacher, for the message.
        store: Its embeddings.
    """
    ids = store.ids[:: max(1, len(store.ids) // _SAMPLE)]
    if len(ids) >= 2 and is_constant(store[ids]):
        raise UserError(
            f"the teacher {teacher} gives the same embedding for all of {len(ids):,} clips, so there is nothing to "
            "learn. Are the clips silent or equal? Does the teacher need another sample rate or level?"
        )


def is_constant(vectors: NDArray[np.floating]) -> bool:
    """Return whether all rows of (rows, dim) are equal, except for rounding."""
    rows = vectors.astype(np.float64)
    size = np.sqrt(np.mean(rows**2))
    return bool(np.sqrt(np.mean((rows - rows.mean(0)) ** 2)) <= _MIN_DEVIATION * size)
