"""Views of clips: augmented versions, each a pure function of a seed, the name of the clip and the number of the view.

So a teacher's embedding of a view can be stored, and the student gets the same sound later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.read import FULL_SCALE
from distill.data.store.texts import Texts

if TYPE_CHECKING:  # torch takes a second to import, and `distill list` reads this module
    from torch import Tensor

    from distill.data.clips.manifest import Row, Rows

_MAX_MIXUP = 1000.0  # from here on, the shares are one half
_NAME = re.compile(r"@view[0-9]+$")


class View(NamedTuple):
    """The changes that make a view of a clip.

    Args:
        position: Where the crop lies inside the clip, from 0 (at the start) to 1 (at the end).
        gain: Factor of the samples.
        roll: Offset of the rotation in time, as a share of the crop, from 0 to below 1.
        share: Share of the clip in its mixture with the partner, from 0.5 to 1.
        partner: The clip with which the clip is mixed, with the changes of its own view. None: it is not mixed.
    """

    position: float
    gain: float = 1.0
    roll: float = 0.0
    share: float = 1.0
    partner: Row | None = None

    def change(self, samples: Tensor) -> Tensor:
        """Return the samples of a crop with gain and rotation, before it is mixed.

        Args:
            samples: int16, or float32 in [-1, 1]. Shape (samples,).

        Returns:
            float32, of the same shape; may exceed [-1, 1].
        """
        scale = self.gain if samples.is_floating_point() else self.gain * float(FULL_SCALE)
        offset = int(self.roll * len(samples))
        return (samples.roll(-offset) if offset else samples) * scale


@dataclass(frozen=True)
class Views:
    """Settings of the views of each clip.

    Args:
        count: Number of views. The first is the clip with its usual crop and without changes. 1: only that one.
        gain: Maximum change of level in dB, up or down, of the further views.
        roll: Whether further views are rotated in time by a random offset.
        seed: Seed of the views. A further view has its crop at a random position.
        mixup: Parameter of Beta(mixup, mixup), from which the shares of two mixed clips are drawn, as that of
            `Augmentation`. Each further view is mixed with the view of the same number of another clip. 0 disables it.
    """

    count: int = 1
    gain: float = 0.0
    roll: bool = False
    seed: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"views.count {self.count}: must be at least 1")
        if not 0 <= self.gain <= 100:
            raise ValueError(f"views.gain {self.gain:g}: must be from 0 to 100 dB")
        if self.seed < 0:
            raise ValueError(f"views.seed {self.seed}: must be at least 0")
        if not 0 <= self.mixup <= _MAX_MIXUP:
            raise ValueError(f"views.mixup {self.mixup:g}: must be from 0 to {_MAX_MIXUP:g}")

    @classmethod
    def of_store(cls, fingerprint: Mapping[str, Any]) -> Views:
        """Return the views that the fingerprint of a store states."""
        return cls(**fingerprint.get("views", {}))

    def as_fingerprint(self) -> dict[str, Any]:
        """Return the settings for the fingerprint of a store. Stores without mixup have the one of earlier versions."""
        settings = asdict(self)
        return settings if self.mixup else {name: value for name, value in settings.items() if name != "mixup"}

    def drawn(self, seed: int, draw: int) -> int:
        """Return the number of the view that a draw of a run gets.

        Args:
            seed: Seed of the run.
            draw: Number of the draw since the start of the run.
        """
        return int(np.random.default_rng([seed, draw]).integers(self.count)) if self.count > 1 else 0

    def view(self, clip_id: str, number: int) -> View | None:
        """Return a view of a clip, without its partner; None for view 0, the clip without changes."""
        if not number:
            return None
        drawn = np.random.default_rng([self.seed, number, name_key(clip_id)])
        position, level, roll = drawn.random(3).tolist()
        share = drawn.beta(self.mixup, self.mixup) if self.mixup else 1.0
        return View(
            position,
            10 ** ((2 * level - 1) * self.gain / 20),
            roll if self.roll else 0.0,
            max(share, 1 - share),  # so that the clip gives the view its name
        )

    def partners(self, names: Texts) -> NDArray[np.int32]:
        """Return the place of the partner of each clip in each view. Shape (clips, views). -1 for view 0.

        For each view, the clips are put in the order of a hash of seed, view and name, and each has the next one as its
        partner, the last one the first. So each clip is the partner of one clip, and a clip that is added or removed
        changes the partner of one other clip.

        Args:
            names: All clips of the store.
        """
        found = np.full((len(names), self.count), -1, np.int32)
        keys = np.fromiter(map(name_key, names), np.uint64, len(names))
        for number in range(1, self.count):
            of_view = np.random.default_rng([self.seed, number]).integers(2**64, dtype=np.uint64)
            order = np.argsort(mixed_bits(keys ^ of_view))
            found[order, number] = np.roll(order, -1)
        return found


@dataclass(frozen=True, eq=False)
class ClipViews:
    """The views of the clips of a manifest.

    Args:
        rows: The clips.
        views: Settings of the views.
        partners: Row of the partner of each clip in each view; -1 for a view that cannot be used. Shape (clips, views).
            None: the views are not mixed.
    """

    rows: Rows
    views: Views
    partners: NDArray[np.int32] | None = None

    def drawn(self, place: int, seed: int, draw: int) -> int:
        """Return the number of the view that a draw of the clip at `place` gets; 0 instead of one without a partner."""
        number = self.views.drawn(seed, draw)
        return 0 if self.partners is not None and self.partners[place, number] < 0 else number

    def view(self, place: int, name: str, number: int) -> View | None:
        """Return a view of the clip at `place`, whose id is `name`; None for view 0."""
        view = self.views.view(name, number)
        if view is None or self.partners is None:
            return view
        partner = self.rows[int(self.partners[place, number])]
        return view._replace(partner=replace(partner, view=self.views.view(partner.id, number)))

    def row(self, place: int, number: int) -> Row:
        """Return the row of a view of the clip at `place`."""
        clip = self.rows[place]
        return replace(clip, id=view_name(clip.id, number), view=self.view(place, clip.id, number)) if number else clip


@dataclass(frozen=True, eq=False)
class ViewColumn:
    """The view of each row of a manifest.

    Args:
        clips: The clips and their views.
        places: Place of the clip of each row. Shape (rows,).
        numbers: Number of the view of each row. Shape (rows,).
    """

    clips: ClipViews
    places: NDArray[np.int32]
    numbers: NDArray[np.int32]

    def of(self, row: int, name: str) -> View | None:
        """Return the view of a row, whose id is `name`."""
        return self.clips.view(int(self.places[row]), clip_name(name), int(self.numbers[row]))

    def partners(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the place of the partner of each of `rows` among the clips; -1 for a row that is not mixed."""
        if self.clips.partners is None:
            return np.full(len(rows), -1, np.int32)
        return self.clips.partners[self.places[rows], self.numbers[rows]]

    def take(self, rows: NDArray[np.integer]) -> ViewColumn:
        """Return the column of `rows`."""
        return ViewColumn(self.clips, self.places[rows], self.numbers[rows])


def name_key(name: str) -> int:
    """Return 64 bits that depend on the name of a clip alone, and so are the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8])


def mixed_bits(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers in which each bit depends on all bits of the given one: SplitMix64."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def view_name(clip_id: str, number: int) -> str:
    """Return the id of a view: "NAME@view1"; that of view 0 is the name of the clip."""
    return f"{clip_id}@view{number}" if number else clip_id


def clip_name(name: str) -> str:
    """Return the name of the clip of a view; a name that is not that of a view is returned as it is."""
    return _NAME.sub("", name)
