"""A map of embeddings as one HTML page, in which a click on a point plays its sound."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from distill.evaluation.pictures import group_colour, printable
from distill.evaluation.plane import Grouping, Plane

_SIDE = 1000  # of the map, in its own units


@dataclass(frozen=True)
class Shown:
    """The clips of a map.

    Args:
        ids: Ids of the clips.
        plane: Their positions.
        groupings: Their groups, by the name of the grouping, such as "label".
        values: Text of each clip for each grouping, such as all its labels, by the name of the grouping.
        sounds: MP3 of each clip; empty for a clip without one.
    """

    ids: Sequence[str]
    plane: Plane
    groupings: Mapping[str, Grouping]
    values: Mapping[str, Sequence[str]]
    sounds: Sequence[bytes]


def map_page(shown: Shown, title: str) -> str:
    """Return a page that needs no network and no other file. Names are shown as text and cannot become HTML or scripts.

    Args:
        shown: The clips.
        title: Title of the page.
    """
    template = (files("distill.run") / "map_page.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    assert script is not None
    values = {
        "TITLE": html.escape(printable(title, 200)),
        # The page runs this script and no other.
        "HASH": base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode(),
        # In JSON, "<" occurs in texts only. Escaped, no text can end the element.
        "DATA": json.dumps(_data(shown), separators=(",", ":")).replace("<", "\\u003c"),
    }
    # In one pass, so that no name that holds a placeholder is replaced.
    return re.sub("__(TITLE|HASH|DATA)__", lambda found: values[found[1]], template)


def _data(shown: Shown) -> dict[str, object]:
    """Return the content of the page as JSON values."""
    low, high = shown.plane.positions.min(0), shown.plane.positions.max(0)
    extent = float((high - low).max()) or 1.0
    places = (shown.plane.positions - (low + high) / 2) / extent * _SIDE + _SIDE / 2
    places[:, 1] = _SIDE - places[:, 1]  # in SVG, y points down
    kept = sum(map(bool, shown.sounds))
    return {
        "about": f"{len(shown.ids):,} clips by {shown.plane.method}; {kept:,} have their sound in this page.",
        "radius": round(float(np.clip(200 / np.sqrt(len(places)), 4, 10)), 1),
        "points": np.round(places, 1).tolist(),
        "ids": [printable(clip_id, 500) for clip_id in shown.ids],
        "groupings": [
            {
                "name": name,
                "names": [printable(group, 100) for group in grouping.names],
                "colours": [group_colour(grouping, place) for place in range(len(grouping.names))],
                "codes": grouping.codes.tolist(),
                "values": [printable(value, 500) for value in shown.values[name]],
            }
            for name, grouping in shown.groupings.items()
        ],
        "sounds": [base64.b64encode(sound).decode() for sound in shown.sounds],
    }
