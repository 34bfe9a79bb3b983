"""Measure distillation on real recorded sound with trained teachers, and print the section "Real sound".

    python experiments/real/sounds.py --out sounds/
    python experiments/real/benchmark.py --sounds sounds/ --only default small

Every run is a command `distill fit`, as a user types it; its CPU seconds are those of the process and of its loaders,
with a complete store. The probes are linear, as in `distill probe`: drums, instruments and kinds count. All results are
lines of OUT/results.jsonl. What has a line is not measured again.

Rows: {rows}.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run this file by its path

from experiments.real import changes, choice, pitch, rows, spaces, specialists, views
from experiments.real.process import Failed
from experiments.real.study import Study, cores, machine

HOME = Path(__file__).parent
ROWS: dict[str, tuple[str, Callable[[Study], list[str]]]] = {
    "default": ("The shortest command: musicnn and the default student", rows.default),
    "budget": ("Two CPU hours", rows.budget),
    "birdnet": ("BirdNET as the teacher", rows.birdnet),
    "voices": ("A task where there is little to distil", rows.voices),
    "mobilenet": ("MobileNetV3, width 0.3", rows.mobilenet),
    "hear": ("HEAR, both stages", rows.hear),
    "crepe": ("Frames: the pitch of held-out notes", pitch.crepe),
    "space": ("The student answers in its teacher's space", spaces.space),
    "specialists": ("Two specialised teachers, weighted by domain", specialists.specialists),
    "views": ("The teacher's embedding of the student's own input, live and stored", views.views),
    "teachers": ("Which teacher fits, before anything is trained", choice.teachers),
    "small": ("96 clips of one second", rows.small),
    "padding": ("Useful share of a batch", rows.padding),
    "rank": ("Quality without labels, against the probe", changes.rank),
    "ablation": ("One change at a time", changes.ablation),
}


def section(study: Study, names: list[str]) -> list[str]:
    """Measure rows and return the section of BENCHMARKS.md."""
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        "## Real sound",
        "",
        f"On {machine()}. `python experiments/real/benchmark.py`; clips {study.digest}; seeds {seeds}.",
        f"CPU minutes are user and system time of `distill fit`, with the store complete, on {cores()} cores.",
    ]
    for name in names:
        title, measure = ROWS[name]
        try:
            lines += ["", f"### {title}", "", *measure(study)]
        except Failed as error:  # the other rows do not depend on it
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            lines += ["", f"### {title}", "", "Not measured."]
    return lines


def main() -> None:
    text = (__doc__ or "").format(rows=", ".join(ROWS))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, default=Path("sounds"), help="folder that sounds.py wrote")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of the teachers' weights")
    parser.add_argument("--wheels", type=Path, help="folder of the packages with the weights (default: download them)")
    parser.add_argument("--out", type=Path, default=HOME / "results", help="folder of results, runs and stores")
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=ROWS, metavar="ROW", help="rows to measure")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=0, help="clips of each label and split, for a trial (0: all)")
    parser.add_argument("--fit_words", default="", help='more options of every fit, for a trial: "--max_steps 20"')
    options = parser.parse_args()
    study = Study(
        options.sounds.resolve(), options.weights.resolve(), options.out.resolve(), tuple(options.seeds),
        tuple(shlex.split(options.fit_words)), options.limit, options.wheels,
    )  # fmt: skip
    print("\n" + "\n".join(section(study, options.only)))


if __name__ == "__main__":
    main()
