"""The command line as a user meets it, and the commands beside fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import distill
from distill.cli.shell import main
from distill.data.store.reader import EmbeddingStore
from distill.run.folder import Run
from tests.conftest import GOLDEN

FIT = ["fit", "--teacher", "spectral", "--student", "mobilenet_v3", "--student.width", "0.1", "--epochs=1"]
QUICK = ["--batch_size=4", "--engine.workers=0", "--engine.accelerator=cpu", "--validation=0"]


def run(*words: object) -> None:
    main([str(word) for word in words])


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    lines = capsys.readouterr().err.strip().splitlines()
    return int(str(ended.value.code)), lines[-1]


def test_options_of_the_usual_objective_need_no_name(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, other = sounds(8), tmp_path / "run", tmp_path / "other"
    student = ["--teacher", "spectral", "--student", "tests.own_parts.TinyConvolution"]
    run("fit", *student, "--objective.loss", "contrastive", "--data", data, "--out", out, "--epochs=1", *QUICK)
    objective = Run(out).config["objective"]
    assert (objective["class_path"], objective["init_args"]["loss"]) == ("embedding", "contrastive")
    (tmp_path / "c.yaml").write_text("objective: {class_path: classification}")
    words = ["--config", tmp_path / "c.yaml", *student[2:], "--objective.loss=mse", "--data", data, "--out", other]
    code, line = failure(capsys, "fit", *words)
    assert (code, "cross_entropy" in line) == (2, True)  # the file's objective was asked, and has other losses
    run("fit", "--resume", "--out", out, "--epochs=2", "--objective.loss=contrastive", *QUICK)
    assert Run(out).config["epochs"] == 2


def test_options_of_no_component(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure(capsys, "fit", "--teacher.width=2", "--data", tmp_path, "--out", tmp_path / "run")
    assert (code, "--teacher NAME must come before it" in line) == (2, True)


def test_fit_embed_cluster_and_probe_from_the_command_line(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = sounds(20), tmp_path / "run"
    run(*FIT, *QUICK, "--data", data, "--out", out)
    run("embed", "--model", out, "--data", data, "--out", tmp_path / "store", "--workers=0")
    run("cluster", "--store", tmp_path / "store", "--clusters=3")
    run("probe", "--model", out, "--data", data, "--workers=0")
    printed = capsys.readouterr().out
    assert "20 embeddings of 96 numbers" in printed
    assert "effective_clusters" in printed
    assert "linear probe on" in printed
    assert (out / "probe" / "sounds" / "linear" / "result.json").exists()


def test_a_path_below_home_is_found(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds()
    monkeypatch.setenv("HOME", str(tmp_path))  # shells leave ~ alone after =
    main(["embed", "--teacher=spectral", "--data=~/sounds", "--out=~/store", "--workers=0"])
    assert len(EmbeddingStore(tmp_path / "store")) == 12


def test_a_saved_config_runs_again_and_the_command_line_wins(sounds: Callable[..., Path], tmp_path: Path) -> None:
    run(*FIT, *QUICK, "--data", sounds(8), "--out", tmp_path / "a")
    run("fit", "--config", tmp_path / "a" / "config.yaml", "--out", tmp_path / "b", "--seed=3")
    configs = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in "ab"]
    assert configs[0] | {"out": configs[1]["out"], "seed": 3} == configs[1]


def test_resume_needs_only_the_folder(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*FIT, *QUICK, "--data", sounds(8), "--out", tmp_path / "a")
    run("fit", "--resume", "--out", tmp_path / "a")
    assert "has ended already" in capsys.readouterr().out


def test_a_component_is_named_by_its_import_path(sounds: Callable[..., Path], tmp_path: Path) -> None:
    student = ["--student", "tests.own_parts.TinyConvolution", "--student.channels", "5"]
    teacher = ["--teacher=tests.own_parts.Loudness", "--teacher.bands=2"]
    run("fit", *teacher, *student, *QUICK, "--epochs=1", "--data", sounds(8), "--out", tmp_path / "a")
    assert distill.load(str(tmp_path / "a")).clip_dim == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--teacher", "baets"], "unknown teacher 'baets'; did you mean"),
        (["fti"], "unknown command 'fti'; did you mean 'fit'"),
        ([*FIT, "--epoch", "3"], "did you mean --epochs"),
        ([*FIT, "--student.widht", "3"], "--student has no option 'widht'; did you mean --student.width?"),
        (
            ["fit", "--teacher+=ast", "--teacher.chekpoint=x"],
            "--teacher has no option 'chekpoint'; did you mean --teacher.checkpoint?",
        ),
        (["fit", "--teacher+=ast", "--teacher+=baets"], "unknown teacher 'baets'; did you mean 'beats'"),
        ([*FIT, "--epochs", "many"], "epochs"),
        ([*FIT, "--data", "/nowhere", "--out", "x"], "/nowhere: no such file"),
        (["fit", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["fit", "--teacher", "no_such_package.Teacher"], "no_such_package"),
        (["fit", "--out", "x"], "--data is required"),
        (["embed", "--data", "x", "--out", "y"], "either --teacher NAME or --model RUN"),
        (["probe", "--data", str(GOLDEN), "--model", "x", "--task", "esc50"], "esc50.csv is missing"),
        (["list", "teacher"], "did you mean 'teachers'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, line = failure(capsys, *words)
    assert code == 2
    assert line.startswith("distill: error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fit", "--teacher", "baets"]])
def test_a_quick_answer_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys\nfrom distill.cli.shell import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'lightning', 'jsonargparse', 'transformers', 'faiss'} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    words = [sys.executable, "-m", "distill", "list", "datasets"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()  # before anything is written: starting takes longer than this
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(("command", "word"), [("store", "absent"), ("report", "absent"), ("search", "absent.wav")])
def test_the_word_without_a_name_may_stand_first_or_last(
    command: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--store", tmp_path] if command == "search" else ["--out", tmp_path / "x.npz"]
    for words in ((word, *options), (*options, word)):
        code, line = failure(capsys, command, *words)
        assert code == 2
        assert str(tmp_path) in line if command == "search" else word in line
