"""`distill report`: draw a run, which may still be running, or compare the probes of several runs."""

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
    """Draw a run, or compare the probes of several runs.

    Pictures of a run show the losses and the quantities that the objective reports. The pictures of the objective
    itself are drawn from the newest checkpoint. A comparison is a table of scores, of the retained share of the
    teacher's score, and of costs. Its pictures show scores against costs.

    Args:
        run: Run folder. The pictures are written into its `report/`. Empty: use `compare`.
        compare: Folders with results of `distill probe`, such as runs/*. Retention requires the teacher's own probe
            among them. Empty: use `run`.
        out: Folder of the comparison.

    Raises:
        UserError: there is no run, it has no metrics.csv yet, or there is no result to compare.
    """
    if compare:
        compare_results(compare, Path(out))
    elif run:
        report_run(Run(run))
    else:
        raise UserError("--run RUN or --compare RUN RUN ... is required")


def report_run(folder: Run) -> None:
    """Draw a run into its report: losses and measurements, and the pictures of the objective.

    The latter need a checkpoint, the data and the parts of the run. Without these they are not drawn.

    Args:
        folder: Run folder.

    Raises:
        UserError: there is no run, or it has no metrics.csv yet.
    """
    options = FitOptions.from_config(folder.config)
    if not folder.metrics.is_file():
        raise UserError(f"{folder.path} has no metrics.csv yet")
    draw_run(folder, options)
    checkpoint, _ = folder.newest_checkpoint()
    if checkpoint is not None:
        try:
            job = Job(replace(options, out=str(folder.path)))
        except UserError as error:
            print(f"only metrics.csv is drawn; pictures of the objective require the data and all parts ({error})")
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
            objective = job.parts.build_objective(job.parts.teachers, options.seed)
            objective.load_state_dict({key.removeprefix("objective."): tensor for key, tensor in state.items()})
            draw_run(folder, options, list(objective.weights))
            job.draw_objective(objective.eval())
    print("\n".join(str(path) for path in sorted(folder.report.glob("*.png"))))


def compare_results(folders: Sequence[str], out: Path) -> None:
    """Write, print and draw a table for each data set and protocol, within which scores are comparable.

    Args:
        folders: Folders with results of `distill probe`.
        out: Folder of the comparison: comparison.md and pictures.

    Raises:
        UserError: there is no result in the folders, or one cannot be read.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[str, ProbeResult]]] = defaultdict(list)
    for folder in folders:
        for result in _results(Path(folder)):
            groups[result.data, result.task, result.protocol, result.metric].append((Path(folder).name, result))
    if not groups:
        raise UserError(f"--compare {' '.join(folders)}: there is no result.json in them; `distill probe` writes it")
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
    """Return the lines of a table in Markdown.

    The retention of a student is its score divided by that of its teacher. The rows must contain a probe of the same
    teacher: of equal class, options and weights. With several teachers, the best one counts.

    Args:
        entries: Name and result of each row, the best score first.
    """
    metric = entries[0][1].metric
    # In reverse, so that the best score of one identity is kept.
    scores = {result.identity: result.score for _, result in reversed(entries)}
    lines = [f"| name | {metric} | of its teacher | parameters | GFLOP, 10 s | ms, 10 s |", "|---|---|---|---|---|---|"]
    for name, result in entries:
        teacher_score = max((scores.get(identity, 0.0) for identity in result.teachers.values()), default=0.0)
        retained = f"{result.score / teacher_score:.1%}" if teacher_score else ""
        cost = result.cost
        lines.append(
            f"| {name} | {result.score:.4f} ± {result.spread:.4f} | {retained} | {cost['parameters']:,} | "
            f"{cost['flops'] / 1e9:.3g} | {cost['latency'] * 1000:.3g} |"
        )
    return lines


def _results(folder: Path) -> list[ProbeResult]:
    """Return the results of all protocols in a folder, or in the `probe/` of a run."""
    patterns = ("result.json", "*/result.json", "probe/*/*/result.json")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    results = []
    for path in paths:
        if path.is_file():
            try:
                results.append(ProbeResult(**json.loads(path.read_text())))
            except (TypeError, json.JSONDecodeError) as error:
                raise UserError(f"{path} is not a result of `distill probe` ({error})") from error
    return results
