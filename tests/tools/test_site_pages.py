"""The links of a page on the site, and that the site has every page and every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import distill
from tools.site_pages import ROOT, adapted, outside

SITE = [*(path.name for path in (ROOT / "docs").glob("*.md")), *outside()]
CASES = {
    "beside": ("tasks.md", "[a](perch.md#b)", "[a](perch.md#b)"),
    "outside docs/": ("tasks.md", "[a](../BENCHMARKS.md#real-sound)", "[a](BENCHMARKS.md#real-sound)"),
    "into docs/": ("README.md", "[a](docs/tasks.md#data)", "[a](tasks.md#data)"),
    "from a folder": ("experiments/hear/README.md", "[a](../../BENCHMARKS.md)", "[a](../../BENCHMARKS.md)"),
    "to a folder with a page": ("tasks.md", "[a](../experiments/ssondo/)", "[a](experiments/ssondo/README.md)"),
    "to a folder without a page": ("tasks.md", "see [a](../experiments/launch).", "see a."),
    "to a file that is no page": ("experiments/README.md", "[`x`](hear/mam.yaml)", "`x`"),
    "picture": ("README.md", "![a](experiments/demo.png)", "![a](experiments/demo.png)"),
    "to nothing": ("tasks.md", "[a](missing.md)", "[a](missing.md)"),
    "address": ("tasks.md", "[a](https://pytorch.org)", "[a](https://pytorch.org)"),
    "in the page": ("tasks.md", "[a](#data)", "[a](#data)"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_link_of_the_repository_becomes_one_of_the_site(case: str) -> None:
    page, written, expected = CASES[case]
    assert adapted(written, page, SITE) == expected


def test_the_page_of_python_has_every_public_name() -> None:
    named = re.findall(r"^::: distill\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert sorted(named) == distill.__all__


def test_the_menu_has_every_page() -> None:
    menu = re.findall(r"[\w/]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(menu) == sorted(name for name in SITE if Path(name).suffix == ".md")
