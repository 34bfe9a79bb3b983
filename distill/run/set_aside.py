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
from distill.data.store.texts import TextIndex


def report_set_aside(clips: Iterable[SetAside], manifest: Manifest, path: Path) -> None:
    """Print the number of clips that could not be used, and list them in a CSV file. Without any, do nothing.

    Args:
        clips: Clips of the manifest that were set aside, with the reasons.
        manifest: All clips of the data. Its notes name those that its reader set aside; they are listed too.
        path: CSV file with the columns id, path, reason and detail.
    """
    unread = manifest.notes.set_aside
    clips = [*unread, *clips]
    if not clips:
        return
    index = TextIndex(manifest.ids)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["id", "path", "reason", "detail"])
    for clip in clips:
        number = index.find(clip.id)
        file = clip.id if number is None else manifest.rows[number].path
        rows.writerow([as_text(clip.id), as_text(file), clip.reason, as_text(clip.detail)])
    write_text(path, text.getvalue())
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(clip.reason for clip in clips).most_common())
    total = len(manifest) + len(unread)
    print(f"{len(clips)} of {total} clips could not be used ({reasons}); they are listed in {path}")
