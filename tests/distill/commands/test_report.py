"""Reports: the table of a comparison, and the pictures of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import distill
from distill.commands.report import comparison_table
from distill.data.errors import UserError
from distill.evaluation.scoring import ProbeResult
from tests.distill.commands.test_fit import fit

COST = {"flops": 2e9, "memory": 1e6, "parameters": 12_345, "latency": 0.0125}
TEACHER = ProbeResult(
    "linear", "auto", "accuracy", 0.8, 0.05, {}, [0.8], {}, 10, 2, data="birds", identity="t", cost=COST
)
STUDENT = replace(TEACHER, score=0.6, spread=0.0, identity="s", teachers={"one": "t"})


def test_a_student_retains_a_share_of_its_teachers_score() -> None:
    lines = comparison_table([("big", TEACHER), ("small", STUDENT)])
    assert lines[0] == "| name | accuracy | of its teacher | parameters | GFLOP, 10 s | ms, 10 s |"
    assert lines[2:] == [
        "| big | 0.8000 ± 0.0500 |  | 12,345 | 2 | 12.5 |",
        "| small | 0.6000 ± 0.0000 | 75.0% | 12,345 | 2 | 12.5 |",
    ]


def test_of_several_teachers_and_probes_the_best_counts() -> None:
    other = replace(TEACHER, score=0.7, identity="u")
    worse = replace(TEACHER, score=0.5)  # the same teacher in another folder
    student = replace(STUDENT, teachers={"one": "t", "two": "u"})
    table = comparison_table([("a", TEACHER), ("b", other), ("c", student), ("d", worse)])
    assert "| 75.0% |" in table[4]


def test_a_student_without_a_probe_of_its_teacher_has_no_share() -> None:
    assert "%" not in "".join(comparison_table([("small", STUDENT), ("other", replace(TEACHER, identity="v"))]))


def test_results_are_compared_within_a_data_set_and_a_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, result in {
        "big": TEACHER, "small/probe/birds/linear": STUDENT, "small/probe/birds/knn": replace(STUDENT, protocol="knn"),
    }.items():  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "result.json").write_text(json.dumps(asdict(result)))
    out = tmp_path / "comparison"
    distill.report(compare=[str(tmp_path / "big"), str(tmp_path / "small")], out=str(out))
    text = (out / "comparison.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("##")] == [
        "## birds, knn probe", "## birds, linear probe",
    ]  # fmt: skip
    assert text.index("| big |") < text.rindex("| small |")  # the best first
    assert {path.name for path in out.glob("*.png")} == {
        "birds_auto_knn_accuracy.png", "birds_auto_linear_accuracy.png",
    }  # fmt: skip
    assert text in capsys.readouterr().out


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"score": 1}')
    with pytest.raises(UserError, match=r"result\.json is not a result of `distill probe`"):
        distill.report(compare=[str(tmp_path)])


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
    with pytest.raises(UserError, match="--run RUN or --compare RUN RUN"):
        distill.report()
    with pytest.raises(UserError, match=r"has no config\.yaml"):
        distill.report(run=str(tmp_path))
    (tmp_path / "config.yaml").write_text("student: mobilenet_v3\n")
    with pytest.raises(UserError, match=r"has no metrics\.csv yet"):
        distill.report(run=str(tmp_path))
