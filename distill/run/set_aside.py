"""The report of clips that could not be used."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distill.data.audio.read import as_text
from distill.data.clips.manifest import Manifest
from distill.data.files import write_text
from distill.data.store.format import SetAside


def report_set_aside(clips: Iterable[SetAside], manifest: Manifest, path: Path) -> int:
    """Print the number of clips that could not be used, and list them in a CSV file. Without any, delete the file.

    Args:
        clips: Clips that were set aside, with the reasons. Clips of other data, which a store may hold, are left out.
        manifest: All clips of the data. Its notes name those that its reader set aside; they are listed too.
        path: CSV file with the columns id, path, reason and detail.

    Returns:
        The number of clips of the manifest among them.
    """
    by_id, unread = {clip.id: clip for clip in clips}, manifest.notes.set_aside
    places = (place for place, clip_id in enumerate(manifest.ids) if clip_id in by_id) if by_id else ()
    rows = list(manifest.rows.take(np.fromiter(places, np.int64)))
    listed = [(clip.id, clip) for clip in unread] + [(row.path, by_id[row.id]) for row in rows]
    if not listed:
        path.unlink(missing_ok=True)  # the list of an earlier run
        return 0
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["id", "path", "reason", "detail"])
    table.writerows([as_text(clip.id), as_text(file), clip.reason, as_text(clip.detail)] for file, clip in listed)
    write_text(path, text.getvalue())
    counts = Counter(clip.reason for _, clip in listed).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    total = len(manifest) + len(unread)
    print(f"{len(listed)} of {total} clips could not be used ({reasons}); they are listed in {path}")
    return len(rows)
