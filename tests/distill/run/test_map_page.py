"""The page of a map: its data, and names that look like HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np

from distill.evaluation.plane import Grouping, Plane
from distill.run.map_page import Shown, map_page

HOSTILE = "</script><img src=x onerror=alert(1)>__TITLE__\udcff"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        values = dict(attributes)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""


def page(name: str = "a", title: str = "t") -> str:
    shown = Shown(
        [name, "b", "c"],
        Plane(np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 0.5]]), "PCA"),
        {"label": Grouping.of([name, "b", "b"])},
        {"label": [name, "b, z", "b"]},
        [b"sound", b"", b""],
    )
    return map_page(shown, title)


def data(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_data_of_the_page() -> None:
    read = data(page())
    assert read["points"] == [[0, 750], [1000, 250], [500, 500]]
    assert read["ids"] == ["a", "b", "c"]
    assert read["sounds"] == [base64.b64encode(b"sound").decode(), "", ""]
    assert read["about"] == "3 clips by PCA; 1 have their sound in this page."
    (grouping,) = read["groupings"]  # type: ignore[misc]
    assert grouping["names"] == ["b", "a"]
    assert grouping["codes"] == [1, 0, 0]
    assert grouping["values"] == ["a", "b, z", "b"]
    assert len(set(grouping["colours"])) == 2


def test_a_name_cannot_become_an_element() -> None:
    hostile = page(HOSTILE, HOSTILE)
    assert Elements(hostile).names == Elements(page()).names
    assert data(hostile)["ids"][0] == HOSTILE.replace("\udcff", "?")  # type: ignore[index]
    hostile.encode()


def test_the_page_runs_its_own_script_alone_and_loads_nothing() -> None:
    text = page(HOSTILE)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script
    allowed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = Elements(text).policy
    assert f"script-src 'sha256-{allowed}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "innerHTML" not in text


def test_equal_positions_lie_in_the_middle() -> None:
    same = Shown(["a", "b"], Plane(np.zeros((2, 2)), "PCA"), {"c": Grouping.of(["", ""])}, {"c": ["", ""]}, [b"", b""])
    assert data(map_page(same, "t"))["points"] == [[500, 500], [500, 500]]
