"""Time and peak memory of the manifest of ten million clips, read from a table and from a folder's list."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
from measure import ROOT, Row, table, write_section

CLIPS = 10_000_000
CLIPS_PER_FOLDER = 1000
ROWS_PER_GROUP = 1 << 20
GOAL_SECONDS, GOAL_GIB = 60, 2.5
# Print the seconds of reading, of the digest and of the summary, and the peak memory in GiB.
SCRIPT = """
import sys, time
from pathlib import Path
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of

begin = time.perf_counter()
manifest = read_manifest(sys.argv[1])
read = time.perf_counter() - begin
print(summary_of(manifest), file=sys.stderr)
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) / 2**20
print(len(manifest), read, peak)
"""


def write_table(path: Path, clips: int) -> None:
    """Write a table of clips with path, label and split. The files of the clips do not exist."""
    schema = pyarrow.schema([("path", pyarrow.string()), ("label", pyarrow.string()), ("split", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, clips, ROWS_PER_GROUP):
            numbers = range(first, min(first + ROWS_PER_GROUP, clips))
            columns = {
                "path": [f"audio/{n // CLIPS_PER_FOLDER:05d}/recording_{n:08d}.flac" for n in numbers],
                "label": [f"species {n * 7919 % 500}" for n in numbers],
                "split": ["test" if n % 10 == 0 else "train" for n in numbers],
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


def measured(table: Path) -> tuple[int, float, float]:
    """Return the clips, the seconds and the peak memory in GiB of reading a table in a new process."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(table)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    print(ended.stderr, end="", file=sys.stderr)
    clips, seconds, peak = ended.stdout.split()
    return int(clips), float(seconds), float(peak)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clips.parquet"
        write_table(path, CLIPS)
        megabytes = path.stat().st_size / 1e6
        clips, seconds, peak = measured(path)
    lines = [
        *table([Row("time", seconds, None, GOAL_SECONDS), Row("peak memory", peak, None, GOAL_GIB, unit="GiB")]),
        "",
        f"A Parquet table of {clips:,} rows with path, label and split ({megabytes:.0f} MB), read by one thread.",
    ]
    write_section("Manifest", lines, "manifest")


if __name__ == "__main__":
    main()
