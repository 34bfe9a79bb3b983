"""Add the pages that lie outside docs/ to the documentation site, with their pictures, and adapt the links.

MkDocs calls `on_files` and `on_page_markdown`. The pages stay as they are in the repository, where their links work.
A link to a file that is not on the site, such as a recipe, becomes its text: the site has no address of the repository.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the tests run without MkDocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "experiments/**/README.md", "teachers/weights/README.md", "experiments/**/*.png")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")  # relative: without a scheme


def outside() -> list[str]:
    """Return the files outside docs/ that the site has, as paths in the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    from mkdocs.structure.files import File

    for path in outside():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with links for the site."""
    pages = [file.src_uri for file in files]
    return adapted(markdown, page.file.src_uri, pages)


def adapted(markdown: str, page: str, pages: Iterable[str]) -> str:
    """Return the text of a page with links for the site.

    Args:
        markdown: Text, whose relative links are those of the repository.
        page: Path of the page on the site. The site has the files of docs/ at its top, the others as in the repository.
        pages: Paths of all files on the site.
    """
    pages = set(pages)
    source = page if page in outside() else f"docs/{page}"

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        for found in (path.removeprefix("docs/"), f"{path}/README.md"):
            if found in pages:
                return f"[{text}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # MkDocs reports it
        return text

    return LINK.sub(link, markdown)
