"""`distill report`: pictures of a run, ended or not; and runs beside each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from distill.data.errors import UserError
from distill.data.files import write_text
from distill.evaluation.pictures import comparison_figure
from distill.evaluation.scoring import ProbeResult
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitOptions
from distill.run.pictures import draw_run, save_figure


def report(run: str = "", compare: Sequence[str] = (), out: str = "comparison") -> None:
    """Draw a run, or set the probes of several beside each other.

    A run: losses, what the objective observed, and the objective's own pictures, from the newest checkpoint. Several:
    a table of scores, of the share of the teacher's score that is retained, and of costs; and quality against cost.

    Args:
        run: Run folder; the pictures go into its `report/`.
        compare: Folders in which `distill probe` wrote results, such as runs/*; the teacher's own probe among them is
            what retention is measured by.
        out: Folder of the comparison.

    Raises:
        UserError: there is no run, it has no checkpoint yet, or nothing to compare.
    """
    if compare:
        compare_results(compare, Path(out))
    elif run:
        report_run(Run(run))
    else:
        raise UserError("--run RUN is required, the folder of a run, or --compare RUN RUN ...")


def report_run(folder: Run) -> None:
    """Draw a run: its losses from metrics.csv, and the objective's own pictures where its data and parts are there."""
    options = FitOptions.from_config(folder.config)
    if not folder.metrics.is_file():
        raise UserError(f"{folder.path} has no metrics.csv yet")
    draw_run(folder, options)
    checkpoint, _ = folder.newest_checkpoint()
    if checkpoint is not None:
        try:
            job = Job(replace(options, out=str(folder.path)))
        except UserError as error:
            print(f"only metrics.csv is drawn: the objective's own pictures need data and parts ({error})")
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
            objective = job.parts.build_objective(job.parts.teachers, options.seed)
            objective.load_state_dict({key.removeprefix("objective."): tensor for key, tensor in state.items()})
            draw_run(folder, options, list(objective.weights))
            job.draw_objective(objective.eval())
    print("\n".join(str(path) for path in sorted(folder.report.glob("*.png"))))


def compare_results(folders: Sequence[str], out: Path) -> None:
    """A table and a picture for each data set and protocol: scores of different ones are not to be compared."""
    groups: dict[tuple[str, str, str, str], list[tuple[str, ProbeResult]]] = defaultdict(list)
    for folder in folders:
        for result in _results(Path(folder)):
            groups[result.data, result.task, result.protocol, result.metric].append((Path(folder).name, result))
    if not groups:
        raise UserError(f"--compare {' '.join(folders)}: no result.json in them; `distill probe` writes it")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for (data, task, protocol, metric), entries in sorted(groups.items()):
        entries.sort(key=lambda entry: -entry[1].score)
        title = f"{data}{'' if task == 'auto' else f' ({task})'}, {protocol} probe"
        lines += [f"## {title}", "", *comparison_table(entries), ""]
        names, results = [name for name, _ in entries], [result for _, result in entries]
        save_figure(comparison_figure(results, names, title), out / f"{data}_{task}_{protocol}_{metric}.png")
    write_text(out / "comparison.md", "\n".join(lines))
    print("\n".join(lines))
    print("\n".join(str(path) for path in sorted(out.iterdir())))


def comparison_table(entries: Sequence[tuple[str, ProbeResult]]) -> list[str]:
    """Rows in Markdown, the best first as they come.

    A student's retention is its score over that of its teacher, where a probe of that very teacher (class, options and
    weights) is among the rows; of several teachers the best.
    """
    metric = entries[0][1].metric
    scores = {result.identity: result.score for _, result in reversed(entries)}  # the best of one identity
    lines = [f"| name | {metric} | of its teacher | parameters | GFLOP, 10 s | ms, 10 s |", "|---|---|---|---|---|---|"]
    for name, result in entries:
        whole = max((scores.get(identity, 0.0) for identity in result.teachers.values()), default=0.0)
        retained = f"{result.score / whole:.1%}" if whole else ""
        cost = result.cost
        lines.append(
            f"| {name} | {result.score:.4f} ± {result.spread:.4f} | {retained} | {cost['parameters']:,} | "
            f"{cost['flops'] / 1e9:.3g} | {cost['latency'] * 1000:.3g} |"
        )
    return lines


def _results(folder: Path) -> list[ProbeResult]:
    """Results in a folder, of all its protocols, or in the `probe/` of a run."""
    patterns = ("result.json", "*/result.json", "probe/*/*/result.json")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    results = []
    for path in paths:
        if path.is_file():
            try:
                results.append(ProbeResult(**json.loads(path.read_text())))
            except (TypeError, json.JSONDecodeError) as error:
                raise UserError(f"{path} is no result of `distill probe` ({error})") from error
    return results
