"""Comparisons of probes: which results are found, their names, their rows and remarks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.commands.report import comparison_table, named_results
from distill.data.errors import UserError
from distill.data.files import finite, write_json
from distill.evaluation.bootstrap import Difference, Interval
from distill.evaluation.classified import evaluate_logits
from distill.evaluation.cost import Cost
from distill.evaluation.results import MEL, TEACHER, UNTRAINED, Baseline, ProbeResult, entries_of
from distill.evaluation.scoring import Labels
from distill.students.decisions import ONE_OF
from tests.distill.commands.test_fit import fit

COST = Cost(10.0, 1_000, 2_000_000, 0.01, 1 << 20, "1 threads of a CPU")


def baseline(role: str, model: str, score: float, over_mel: Difference | None = None) -> Baseline:
    interval = Interval(score - 0.05, score + 0.05)
    return Baseline(
        role, model, model, score, interval, Difference(0.6 - score, 0.5 - score, 0.7 - score), over_mel, COST
    )


def result(identity: str = "student", score: float = 0.6, **values: object) -> ProbeResult:
    measured = ProbeResult(
        "linear", "auto", "accuracy", score, 0.0, {"test": score}, [score], {"accuracy": score}, 100, 4,
        data="drums", model="runs/a", identity=identity, teachers={"t": "teacher"}, cost=COST, test_clips=40,
        interval=Interval(score - 0.1, score + 0.1),
    )  # fmt: skip
    return ProbeResult(**{**vars(measured), **values})


def write(result: ProbeResult, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(asdict(result)))


def test_results_are_found_at_any_depth_and_named_by_their_encoder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for task in ("drums", "voices"):
            write(result(name, data=task), tmp_path / "probes" / name / task / "linear")
    write(result("c"), tmp_path / "run" / "probe" / "drums" / "linear")
    write(result("d"), tmp_path / "one")
    found = named_results([tmp_path / "probes", tmp_path / "run", tmp_path / "one"])
    assert [(name, own.identity, own.data) for name, own in found] == [
        ("a", "a", "drums"), ("a", "a", "voices"), ("b", "b", "drums"), ("b", "b", "voices"),
        ("run", "c", "drums"), ("one", "d", "drums"),
    ]  # fmt: skip
    assert [name for name, _ in named_results([tmp_path])] == ["one", *["probes/a"] * 2, *["probes/b"] * 2, "run"]


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    whole = result(baselines=(baseline(MEL, "mel", 0.5), baseline(TEACHER, "t", 0.7, Difference(0.2, 0.1, 0.3))))
    write(whole, tmp_path / "a")
    assert named_results([tmp_path])[0][1] == whole
    (tmp_path / "a" / "result.json").write_text('{"protocol": "linear", "unknown": 1}')
    with pytest.raises(UserError, match="is not a result of `distill probe`"):
        named_results([tmp_path])


def test_scores_of_a_trained_head_are_no_results_of_probes(tmp_path: Path) -> None:
    write(result(), tmp_path / "probe" / "drums" / "linear")
    logits = np.eye(2, dtype=np.float32)
    labels = Labels(("a", "b"), logits, None, ("", ""))
    named = {"model": "runs/a", "data": "drums", "part": "all clips"}
    evaluated = evaluate_logits(logits, labels, ONE_OF, np.full(2, 0.5), named)
    (tmp_path / "evaluation" / "drums").mkdir(parents=True)
    write_json(tmp_path / "evaluation" / "drums" / "result.json", finite(asdict(evaluated)))
    assert [own for _, own in named_results([tmp_path])] == [result()]


def test_a_baseline_of_several_results_is_one_row_and_gives_the_share_of_the_teacher() -> None:
    teacher = Baseline(**{**vars(baseline(TEACHER, "t", 0.8)), "identity": "teacher"})
    mel, random = baseline(MEL, "mel statistics, 8 Hz", 0.5), baseline(UNTRAINED, "runs/a, untrained", 0.2)
    entries = entries_of(
        [("a", result("x", baselines=(mel, random, teacher))), ("b", result("y", 0.4, baselines=(mel,)))]
    )
    assert [(entry.name, entry.score) for entry in entries] == [
        ("t", 0.8), ("a", 0.6), ("mel statistics, 8 Hz", 0.5), ("b", 0.4), ("a, untrained", 0.2),
    ]  # fmt: skip
    rows = comparison_table(entries, "accuracy")[2:]
    assert rows[1] == "| a | 0.6000 | [0.5000, 0.7000] | 75.0% | 1,000 | 0.002 | 10 |"
    assert "| 50.0% |" in rows[3]
    unknown = entries_of([("a", result(cost=Cost(10.0, None, 0, 0.01, 0, "CPU"))), ("old", result(cost=None))])
    assert "| unknown | 0 | 10 |" in comparison_table(unknown, "accuracy")[2]
    assert comparison_table(unknown, "accuracy")[3].endswith("|  |  |  |  |")


def test_a_teacher_below_mel_statistics_is_named_and_all_tasks_are_in_one_picture(tmp_path: Path) -> None:
    weak = baseline(TEACHER, "resemblyzer", 0.53, Difference(-0.26, -0.3, -0.2))
    write(result(baselines=(baseline(MEL, "mel", 0.79), weak)), tmp_path / "r" / "a")
    write(result(data="voices", cost=None), tmp_path / "r" / "b")
    distill.report(compare=[str(tmp_path / "r")], out=str(tmp_path / "c"))
    text = (tmp_path / "c" / "comparison.md").read_text()
    assert "- r is below mel statistics by 0.1900 [0.0900, 0.2900]" in text
    assert "- the teacher resemblyzer itself is below mel statistics on this task by 0.2600 [0.2000, 0.3000]" in text
    assert text.count("## ") == 2
    assert (tmp_path / "c" / "scores.png").stat().st_size > 1000


def test_losses_are_drawn_without_the_data(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(8, seconds=0.1)
    fit(data, tmp_path / "run", epochs=1)
    picture = tmp_path / "run" / "report" / "losses.png"
    picture.unlink()
    data.rename(tmp_path / "elsewhere")
    distill.report(run=str(tmp_path / "run"))
    assert "only metrics.csv is drawn" in capsys.readouterr().out
    assert picture.stat().st_size > 0


def test_a_folder_that_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--run RUN, --compare RUN RUN \.\.\., --curve RUN or --map STORE"):
        distill.report()
    with pytest.raises(UserError, match=r"has no config\.yaml"):
        distill.report(run=str(tmp_path))
    (tmp_path / "config.yaml").write_text("student: mobilenet_v3\n")
    with pytest.raises(UserError, match=r"has no metrics\.csv yet"):
        distill.report(run=str(tmp_path))


def test_scores_of_kept_students_are_drawn_against_their_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="fit --keep_steps 100,300"):
        distill.report(curve=str(tmp_path))
    scored = result(baselines=(baseline(MEL, "mel", 0.5),))
    for step, score in ((1000, 0.7), (300, 0.6)):
        write(replace(scored, score=score), tmp_path / "students" / f"step_{step:09d}" / "p")
    distill.report(curve=str(tmp_path))
    assert "drums, linear probe, accuracy: step 300 0.6000, step 1,000 0.7000" in capsys.readouterr().out
    assert (tmp_path / "report" / "curve.png").stat().st_size > 1000
