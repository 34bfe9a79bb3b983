"""The report of clips that could not be used."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from distill.data.audio.read import as_text
from distill.data.clips.manifest import Manifest
from distill.data.files import write_text
from distill.data.store.format import SetAside


def report_set_aside(clips: Iterable[SetAside], manifest: Manifest, path: Path) -> None:
    """Print the number of clips that could not be used, and list them in a CSV file. Without any, do nothing.

    Args:
        clips: Clips that were set aside, with the reasons.
        manifest: All clips of the data.
        path: CSV file with the columns id, path, reason and detail.
    """
    paths = {row.id: row.path for row in manifest.rows}
    clips = list(clips)
    if not clips:
        return
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["id", "path", "reason", "detail"])
    rows.writerows([as_text(c.id), as_text(paths.get(c.id, c.id)), c.reason, as_text(c.detail)] for c in clips)
    write_text(path, text.getvalue())
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(clip.reason for clip in clips).most_common())
    print(f"{len(clips)} of {len(manifest)} clips could not be used ({reasons}); they are listed in {path}")
