"""`distill report`: draw a run, which may still be running, or a map of embeddings, or compare probes of runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from distill.data.clips.sources import Data
from distill.data.errors import UserError
from distill.data.files import write_text
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.cost import Cost
from distill.evaluation.pictures import comparison_figure, curve_figure, scores_figure
from distill.evaluation.results import MEL, Entry, ProbeResult, entries_of
from distill.evaluation.verdicts import interval_text, verdicts
from distill.run.folder import Run, step_of
from distill.run.job import Job
from distill.run.options import FitOptions
from distill.run.pictures import draw_run, save_figure


def report(
    run: str = "",
    compare: Sequence[str] = (),
    curve: str = "",
    map: str = "",
    data: str | Data = "",
    out: str = "",
    root: str = "",
    label: str = "",
    split: str = "",
    allow_import: str | None = None,
) -> None:
    """Draw a run or a map of embeddings, or compare the probes of several runs.

    Pictures of a run show the losses and the quantities that the objective reports. The pictures of the objective
    itself are drawn from the newest checkpoint. A comparison is a table of scores with 95 % intervals, of the retained
    share of the teacher's score, and of costs. The baselines of the probes are rows too. Its pictures show the scores
    of all tasks, and scores against costs.

    A map shows clips on a plane, where clips with similar embeddings are neighbours. map.png is coloured by label,
    split and cluster. In map.html, a page that needs no network, a click plays 3 s of a clip.

    Args:
        run: Run folder. The pictures are written into its `report/`. Empty: use `compare`.
        compare: Folders with results of `distill probe` at any depth, such as runs/*. Retention requires a score of
            the teacher among them. Empty: use `run`.
        curve: Run folder with students that `fit --keep_steps` kept and `distill probe` scored. The scores are drawn
            against the steps into `report/curve.png`. Empty: use `run`.
        map: Store of `distill embed`, or run folder. The student of a run embeds the clips that the run held out.
            Empty: use `run`.
        data: Clips of the map: for a store, their sounds, labels and splits; for a run, other clips than its own.
        out: Folder of the comparison or of the map. Empty: `comparison`; `report` in the run; `map` in the store.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits of a table. Empty: found by its name.
        allow_import: Package from which the student's own class may be imported for a map. None: no package.

    Raises:
        UserError: there is no run, it has no metrics.csv yet, there is no result to compare, or no clip for a map.
    """
    if compare:
        compare_results(compare, Path(out or "comparison"))
    elif map:
        draw_map(Path(map).expanduser(), Data.of(data, root, label, split), out, allow_import)
    elif curve:
        draw_curve(Run(curve))
    elif run:
        report_run(Run(run))
    else:
        raise UserError("--run RUN, --compare RUN RUN ..., --curve RUN or --map STORE is required")


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


def draw_map(source: Path, data: Data, out: str, allow_import: str | None) -> list[Path]:
    """Draw the map of a store, or of the student of a run, as map.png and map.html. Return the files.

    Args:
        source: Store or run folder.
        data: Clips of the map. An empty path: for a store, none; for a run, its held-out clips.
        out: Folder of the map. Empty: `map` in the store, `report` in the run.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: the folder is neither, or there are fewer than 2 clips.
    """
    from distill.run.embedding_map import draw_store, draw_student

    if (source / "config.yaml").is_file():
        run = Run(source)
        return draw_student(run, data, Path(out) if out else run.report, allow_import)
    return draw_store(EmbeddingStore(source), data, Path(out) if out else source / "map")


def draw_curve(folder: Run) -> None:
    """Draw the scores of the kept students of a run against their steps, and print them.

    Args:
        folder: Run folder.

    Raises:
        UserError: no kept student has a result of `distill probe`.
    """
    curves: dict[str, list[tuple[int, ProbeResult]]] = defaultdict(list)
    for student in folder.kept_students():
        for result in _results_in(student).values():
            curves[f"{result.data}, {result.protocol} probe, {result.metric}"].append((step_of(student), result))
    if not curves:
        raise UserError(
            f"--curve {folder.path}: no kept student is scored; keep some by `distill fit --keep_steps 100,300`, then "
            f"`distill probe --model {folder.path}/students/step_000000100 --data LABELLED`"
        )
    for title, points in curves.items():
        print(title + ": " + ", ".join(f"step {step:,} {result.score:.4f}" for step, result in points))
    path = folder.report / "curve.png"
    save_figure(curve_figure(curves), path)
    print(path)


def compare_results(folders: Sequence[str], out: Path) -> None:
    """Write, print and draw a table for each data set and protocol, within which scores are comparable.

    Args:
        folders: Folders with results of `distill probe`, at any depth.
        out: Folder of the comparison: comparison.md and pictures.

    Raises:
        UserError: there is no result in the folders, or one cannot be read.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[str, ProbeResult]]] = defaultdict(list)
    for name, result in named_results([Path(folder) for folder in folders]):
        groups[result.data, result.task, result.protocol, result.metric].append((name, result))
    if not groups:
        raise UserError(f"--compare {' '.join(folders)}: there is no result.json in them; `distill probe` writes it")
    out.mkdir(parents=True, exist_ok=True)
    lines, drawn = [], {}
    for (data, task, protocol, metric), results in sorted(groups.items()):
        entries = entries_of(results)
        title = f"{data}{'' if task == 'auto' else f' ({task})'}, {protocol} probe"
        remarks = dict.fromkeys(remark for name, result in results for remark in verdicts(result, name, (MEL,)))
        lines += [f"## {title}", "", *comparison_table(entries, metric), ""]
        lines += [*(f"- {remark}" for remark in remarks), ""] if remarks else []
        drawn[f"{title}, {metric}"] = entries
        save_figure(comparison_figure(entries, metric, title), out / f"{data}_{task}_{protocol}_{metric}.png")
    save_figure(scores_figure(drawn), out / "scores.png")
    write_text(out / "comparison.md", "\n".join(lines))
    print("\n".join(lines))
    print("\n".join(str(path) for path in sorted(out.iterdir())))


def comparison_table(entries: Sequence[Entry], metric: str) -> list[str]:
    """Return the lines of a table in Markdown.

    The retention of a student is its score divided by that of its teacher. The rows must contain the same teacher: of
    equal class, options and weights. With several teachers, the best one counts.

    Args:
        entries: Rows of the table, the best score first.
        metric: Name of the metric of the scores.
    """
    # In reverse, so that the best score of one identity is kept.
    scores = {entry.identity: entry.score for entry in reversed(entries)}
    lines = [
        f"| name | {metric} | 95 % interval | of its teacher | parameters | GFLOP, 10 s | ms, 10 s |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        teacher_score = max((scores.get(identity, 0.0) for identity in entry.teachers.values()), default=0.0)
        retained = f"{entry.score / teacher_score:.1%}" if teacher_score else ""
        spread = f" ± {entry.spread:.4f}" if entry.spread else ""
        cells = [entry.name, f"{entry.score:.4f}{spread}", interval_text(entry.interval), retained]
        lines.append(f"| {' | '.join([*cells, *_costs(entry.cost)])} |")
    return lines


def named_results(folders: Sequence[Path]) -> list[tuple[str, ProbeResult]]:
    """Return the results below some folders, with names of their encoders.

    An encoder has the name of the highest folder that holds no result of another encoder.

    Args:
        folders: Folders with results at any depth.

    Raises:
        UserError: a file result.json is not a result.
    """
    found = []
    for folder in folders:
        results = _results_in(folder)
        for path, result in results.items():
            others = [other for other, its in results.items() if its.identity != result.identity]
            owners = (parent for parent in [*reversed(path.parents)] if parent.is_relative_to(folder))
            owner = next((one for one in owners if not any(p.is_relative_to(one) for p in others)), path.parent)
            found.append((folder.name if owner == folder else str(owner.relative_to(folder)), result))
    return found


def _results_in(folder: Path) -> dict[Path, ProbeResult]:
    """Return the results of probes in a folder by their files. Raise UserError if a file result.json is no result."""
    results = {path: _read(path) for path in sorted(folder.rglob("result.json")) if path.is_file()}
    return {path: result for path, result in results.items() if result is not None}


def _read(path: Path) -> ProbeResult | None:
    """Return the result of a probe; None for one of `distill evaluate`. Raise UserError if the file is neither."""
    try:
        values = json.loads(path.read_text())
        return None if "part" in values else ProbeResult.from_json(values)
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a result of `distill probe` ({error})") from error


def _costs(cost: Cost | None) -> list[str]:
    """Return parameters, GFLOP and milliseconds as cells."""
    if cost is None:
        return ["", "", ""]
    parameters = "unknown" if cost.parameters is None else f"{cost.parameters:,}"
    return [parameters, f"{cost.flops / 1e9:.3g}", f"{cost.latency * 1000:.3g}"]
