"""Probes from the data to the table, and mistakes that are found before the work."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import distill
from distill.cli.shell import main
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.results import ProbeResult
from distill.run.identity import identity
from distill.students.saved import save_student
from tests.conftest import GOLDEN, tone
from tests.distill.commands.test_fit import fit


def esc50(folder: Path, clips: int = 20) -> Path:
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    rows = ["filename,fold,target,category"]
    for index in range(clips):
        name, label = f"{index % 5 + 1}-{index}-A-{index // (clips // 2)}.wav", index // (clips // 2)
        soundfile.write(folder / "audio" / name, tone(300 + 900 * label, 0.3, seed=index), 16_000)
        rows.append(f"{name},{index % 5 + 1},{label},{'cat' if label else 'dog'}")
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_probes_are_written_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(esc50(tmp_path / "ESC-50"))
    student, spectral = distill.create_student("mobilenet_v3", width=0.1), distill.create_teacher("spectral")
    student.teachers = {"spectral": identity(spectral)}
    save_student(student.eval(), tmp_path / "runs" / "small" / "student", "card")
    distill.probe(data, model=str(tmp_path / "runs" / "small"), workers=0)
    teacher = distill.probe(data, teacher="spectral", workers=0, out=str(tmp_path / "runs" / "spectral"))
    assert teacher.task == "esc50"
    assert teacher.cost is not None
    assert teacher.cost.parameters == 0
    folder = tmp_path / "runs" / "small" / "probe" / "ESC-50" / "linear"
    result = json.loads((folder / "result.json").read_text())
    assert result["teachers"] == {"spectral": teacher.identity}
    assert (folder / "confusion.png").stat().st_size > 1000
    with open(folder / "by_class.csv") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["cat", "dog"]
    capsys.readouterr()
    main(["report", "--compare", *map(str, sorted((tmp_path / "runs").iterdir())), "--out", str(tmp_path / "c")])
    table = (tmp_path / "c" / "comparison.md").read_text()
    assert f"{result['score'] / teacher.score:.1%}" in table
    assert "43,384" in table
    assert (tmp_path / "c" / "ESC-50_esc50_linear_accuracy.png").stat().st_size > 1000
    other = {"class_path": "spectral", "init_args": {"windows": {"seconds": 0.2}}}  # not a teacher of the student
    distill.probe(data, teacher=other, workers=0, out=str(tmp_path / "others" / "windows"))
    distill.report(
        compare=[str(tmp_path / "runs" / "small"), str(tmp_path / "others" / "windows")], out=str(tmp_path / "d")
    )
    assert "of its teacher" in (table := (tmp_path / "d" / "comparison.md").read_text())
    assert "%" not in table.replace("95 %", "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no result\.json"):
        distill.report(compare=[str(tmp_path / "empty")])


def test_a_store_and_a_frozen_student_are_those_who_speak_through_them(tmp_path: Path) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    spectral = distill.create_teacher("spectral")
    distill.embed(str(data / "audio"), str(tmp_path / "store"), teacher=spectral, workers=0)
    stored = distill.create_teacher("precomputed", store=str(tmp_path / "store"))
    assert identity(stored) == identity(spectral) != identity(distill.create_teacher("spectral", windows=Windows(1.0)))
    student = fit(data / "audio", tmp_path / "run", teacher=stored, crop=distill.Crop())
    assert student.teachers == {"precomputed": identity(spectral)}
    assert identity(distill.create_teacher("frozen", student=str(tmp_path / "run"))) == identity(student)
    assert distill.load(str(tmp_path / "run")).teachers == student.teachers


def test_temporal_supports_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(esc50(tmp_path / "ESC-50", 10))
    main(["probe", "--teacher", "spectral", "--data", data, "--support", "0.1,0.3", "--out", str(tmp_path / "p"),
          "--workers=0"])  # fmt: skip
    results = json.loads((tmp_path / "p" / "support.json").read_text())
    assert list(results) == ["0.1", "0.3"]
    assert (tmp_path / "p" / "support.png").stat().st_size > 1000
    first, second = (distill.probe(data, teacher="spectral", support=[s], out=str(tmp_path / f"{s}"), workers=0)
                     for s in (0.1, 0.3))  # fmt: skip
    assert [first.score, second.score] == [results["0.1"]["score"], results["0.3"]["score"]]
    assert 2.5 < results["0.3"]["cost"]["memory"] / results["0.1"]["cost"]["memory"] < 3.5  # of a window


def test_a_support_that_the_network_would_cut_is_refused(tmp_path: Path) -> None:
    data = str(esc50(tmp_path / "ESC-50", 2))
    teacher = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
    with pytest.raises(UserError, match=r"--support 20: must be at most 10\.2\d+ s"):
        distill.probe(data, teacher=teacher, support=[1.0, 20.0], out=str(tmp_path / "p"), workers=0)
    assert not list(tmp_path.glob("p/embeddings*"))


def test_a_metric_that_does_not_fit_is_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    data = str(esc50(tmp_path / "ESC-50", 10))
    for wrong in ({"metric": "accuracy2"}, {"metric": "F1"}, {"support": [0.001]}, {"support": [float("inf")]}):
        with pytest.raises(UserError, match=r"--metric|--support"):
            distill.probe(data, teacher="spectral", out=str(tmp_path / "p"), workers=0, **wrong)
    assert not (tmp_path / "p").exists()


def test_the_probe_uses_the_folds_of_esc50(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    rows = ["filename,fold,target,category"]
    for index in range(20):
        name, label = f"{index % 5 + 1}-{index}-A-{index // 10}.wav", index // 10
        soundfile.write(tmp_path / "audio" / name, tone(300 + 900 * label, 0.3, seed=index), 16_000)
        rows.append(f"{name},{index % 5 + 1},{label},{'cat' if label else 'dog'}")
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    result = distill.probe(str(tmp_path), teacher="spectral", task="esc50", out=str(tmp_path / "out"), workers=0)
    assert set(result.folds) == {"1", "2", "3", "4", "5"}
    assert result.score == 1.0
    assert result.protocol == "linear"


def run_of(folder: Path, data: Path, **changes: Any) -> str:
    fit(data / "audio", folder, epochs=1, crop=distill.Crop(), **changes)
    return str(folder)


def test_a_student_is_probed_beside_its_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = esc50(tmp_path / "ESC-50")
    run = run_of(tmp_path / "run", data)
    capsys.readouterr()
    result = distill.probe(str(data), model=run, workers=0)
    mel, untrained, teacher = result.baselines
    assert [one.role for one in result.baselines] == ["mel statistics", "untrained", "teacher"]
    assert teacher.model == "spectral"
    assert teacher.identity == identity(distill.create_teacher("spectral"))
    assert result.interval is not None
    assert result.interval.low <= result.score <= result.interval.high
    assert result.test_clips == result.clips == 20
    alone = distill.probe(str(data), teacher={"class_path": "mel", "init_args": {"sample_rate": 16_000}}, workers=0,
                          out=str(tmp_path / "mel"))  # fmt: skip
    assert (alone.score, alone.interval, alone.baselines) == (mel.score, mel.interval, ())
    assert mel.lead.value == result.score - mel.score
    assert teacher.lead_over_mel is not None
    assert teacher.lead_over_mel.value == teacher.score - mel.score
    random = distill.probe(str(data), model=run, untrained=True, workers=0, out=str(tmp_path / "random"))
    assert (random.score, random.identity) == (untrained.score, untrained.identity)
    assert random.identity != result.identity
    assert random.model == f"{run}, untrained"
    lines = capsys.readouterr().out.splitlines()
    for name in (f"  student {run}", "  mel statistics", "  untrained", "  teacher spectral"):
        assert any(line.startswith(name) and line.endswith("]") for line in lines)
    assert any(line.startswith(("the student is ", "the student and mel statistics do not")) for line in lines)
    stored = ProbeResult.from_json(json.loads((Path(run) / "probe" / "ESC-50" / "linear" / "result.json").read_text()))
    assert stored == result


def test_a_second_probe_embeds_no_baseline_again(tmp_path: Path) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    run = run_of(tmp_path / "run", data)
    distill.probe(str(data), model=run, workers=0, protocol="knn")
    folder = tmp_path / "run" / "probe" / "ESC-50"
    names = ("embeddings", "embeddings_mel", "embeddings_untrained", "embeddings_teacher")
    before = {name: (folder / name / "00000.bin").stat().st_mtime_ns for name in names}
    distill.probe(str(data), model=run, workers=0, protocol="linear")
    assert {name: (folder / name / "00000.bin").stat().st_mtime_ns for name in names} == before
    without = distill.probe(str(data), model=run, workers=0, baselines=False, out=str(tmp_path / "alone"))
    assert without.baselines == ()
    assert not list((tmp_path / "alone").glob("embeddings_*"))


def test_a_teacher_that_cannot_be_built_is_left_out_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    run = run_of(tmp_path / "run", data)
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()

    def roles(replacement: str | None) -> list[str]:
        config.write_text(text.replace("class_path: spectral", replacement)) if replacement else config.unlink()
        return [one.role for one in distill.probe(str(data), model=run, workers=0).baselines]

    for replacement, reason in (
        ("class_path: nowhere.Teacher", "its class is not imported; if you trust it: --allow_import nowhere"),
        ("class_path: mel", "its options or weights differ from those that the student learned from"),
        ("class_path: ast", "checkpoint"),
        (None, "not a run folder: it has no config.yaml"),
    ):
        capsys.readouterr()
        assert roles(replacement) == ["mel statistics", "untrained"]
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "is not a baseline here" in line]
        assert reason in line


def test_untrained_needs_a_student(tmp_path: Path) -> None:
    data = str(esc50(tmp_path / "ESC-50", 10))
    with pytest.raises(UserError, match="--untrained requires --model RUN"):
        distill.probe(data, teacher="spectral", untrained=True, workers=0)
    run = run_of(tmp_path / "run", tmp_path / "ESC-50")
    stores = [
        distill.embed(data, str(tmp_path / name), model=run, untrained=name == "random", workers=0).read_all()
        for name in ("trained", "random")
    ]
    assert stores[0].shape == stores[1].shape
    assert not np.allclose(*stores)


def test_windows_in_a_store_are_probed(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    for number in range(8):
        for part, name in enumerate(("dog", "cat")):
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", tone(300 + 500 * part + number, 2.2), 16_000)
    store = distill.embed(str(folder), str(tmp_path / "store"), teacher="spectral", windows=1.0, workers=0)
    shutil.copy(tmp_path / "store" / "windows.csv", folder)
    stored = distill.create_teacher("precomputed", store=str(tmp_path / "store"))
    table, out = str(folder / "windows.csv"), str(tmp_path / "probe")
    result = distill.probe(table, teacher=stored, workers=0, out=out)
    assert (result.clips, result.classes, result.cost) == (len(store), 2, None)
    assert result.score > 0.9
    copied = EmbeddingStore(tmp_path / "probe" / "embeddings")
    np.testing.assert_array_equal(copied[list(store.ids)], store.read_all())
    clustering = distill.cluster(str(tmp_path / "store"), clusters=2)
    assert set(clustering.ids) == set(store.ids)
    student = distill.fit(
        teacher=stored, student="cnn", data=table, out=str(tmp_path / "run"), max_steps=1, batch_size=8
    )
    assert student.embed_file(folder / "dog" / "0.wav").clip.isfinite().all()
