"""Views of clips: augmented versions, each a pure function of a seed, the name of the clip and the number of the view.

So a teacher's embedding of a view can be stored, and the student gets the same sound later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.read import FULL_SCALE

if TYPE_CHECKING:  # torch takes a second to import, and `distill list` reads this module
    from torch import Tensor

    from distill.data.clips.manifest import Row

_NAME = re.compile(r"@view[0-9]+$")


class View(NamedTuple):
    """The changes that make a view of a clip.

    Args:
        position: Where the crop lies inside the clip, from 0 (at the start) to 1 (at the end).
        gain: Factor of the samples.
        roll: Offset of the rotation in time, as a share of the crop, from 0 to below 1.
    """

    position: float
    gain: float = 1.0
    roll: float = 0.0

    def change(self, samples: Tensor) -> Tensor:
        """Return the samples of a crop with gain and rotation.

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
    """

    count: int = 1
    gain: float = 0.0
    roll: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"views.count {self.count}: must be at least 1")
        if not 0 <= self.gain <= 100:
            raise ValueError(f"views.gain {self.gain:g}: must be from 0 to 100 dB")
        if self.seed < 0:
            raise ValueError(f"views.seed {self.seed}: must be at least 0")

    @classmethod
    def of_store(cls, fingerprint: Mapping[str, Any]) -> Views:
        """Return the views that the fingerprint of a store states."""
        return cls(**fingerprint.get("views", {}))

    def drawn(self, seed: int, draw: int) -> int:
        """Return the number of the view that a draw of a run gets.

        Args:
            seed: Seed of the run.
            draw: Number of the draw since the start of the run.
        """
        return int(np.random.default_rng([seed, draw]).integers(self.count)) if self.count > 1 else 0

    def view(self, clip_id: str, number: int) -> View | None:
        """Return a view of a clip; None for view 0, the clip without changes."""
        if not number:
            return None
        key = name_key(clip_id)
        position, level, roll = np.random.default_rng([self.seed, number, key]).random(3).tolist()
        return View(position, 10 ** ((2 * level - 1) * self.gain / 20), roll if self.roll else 0.0)

    def row(self, row: Row, number: int) -> Row:
        """Return the row of a view of a clip."""
        return replace(row, id=view_name(row.id, number), view=self.view(row.id, number)) if number else row


@dataclass(frozen=True, eq=False)
class ViewColumn:
    """The view of each row of a manifest.

    Args:
        views: Settings of the views.
        numbers: Number of the view of each row. Shape (rows,).
    """

    views: Views
    numbers: NDArray[np.int32]

    def of(self, place: int, name: str) -> View | None:
        """Return the view of the row at `place`, whose id is `name`."""
        number = int(self.numbers[place])
        return self.views.view(clip_name(name), number) if number else None

    def take(self, places: NDArray[np.integer]) -> ViewColumn:
        """Return the column of the rows at `places`."""
        return ViewColumn(self.views, self.numbers[places])


def name_key(name: str) -> int:
    """Return 64 bits that depend on the name of a clip alone, and so are the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8])


def view_name(clip_id: str, number: int) -> str:
    """Return the id of a view: "NAME@view1"; that of view 0 is the name of the clip."""
    return f"{clip_id}@view{number}" if number else clip_id


def clip_name(name: str) -> str:
    """Return the name of the clip of a view; a name that is not that of a view is returned as it is."""
    return _NAME.sub("", name)
