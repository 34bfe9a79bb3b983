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
        manifest: All clips of the data.
        path: CSV file with the columns id, path, reason and detail.

    Returns:
        The number of clips.
    """
    by_id = {clip.id: clip for clip in clips}
    places = (place for place, clip_id in enumerate(manifest.ids) if clip_id in by_id) if by_id else ()
    rows = list(manifest.rows.take(np.fromiter(places, np.int64)))
    if not rows:
        path.unlink(missing_ok=True)  # the list of an earlier run
        return 0
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["id", "path", "reason", "detail"])
    for row in rows:
        clip = by_id[row.id]
        table.writerow([as_text(row.id), as_text(row.path), clip.reason, as_text(clip.detail)])
    write_text(path, text.getvalue())
    counts = Counter(by_id[row.id].reason for row in rows).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    print(f"{len(rows)} of {len(manifest)} clips could not be used ({reasons}); they are listed in {path}")
    return len(rows)
