"""The command line as a user meets it, and the commands beside fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

import distill
from distill.cli.shell import main
from distill.commands.cluster import _head
from distill.commands.listing import teacher_table
from distill.data.clips import dataset
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import StoreError, UserError
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.run.embeddings import _batches, encoder_fingerprint, identity
from distill.run.folder import Run
from tests.conftest import GOLDEN, tone
from tests.own_parts import Loudness, TinyConvolution
from tests.teachers.tiny import Options

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


@pytest.mark.parametrize("component", ["teacher", "student"])
def test_options_of_no_component(component: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure(capsys, "fit", f"--{component}.width=2", "--data", tmp_path, "--out", tmp_path / "run")
    assert (code, f"--{component} NAME must come before it" in line) == (2, True)


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
    assert "linear probe of" in printed
    assert (out / "probe" / "sounds" / "linear" / "result.json").exists()


@pytest.mark.parametrize("neighbourhood", [10_000, 300])
def test_the_head_without_labels_is_what_is_densest(
    neighbourhood: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((1000, 8)).astype(np.float32)
    points[:100] *= 0.05
    ids = [f"{number:04d}" for number in range(1000)]
    writer = StoreWriter(tmp_path, ids, 8, {"sample_rate": 16_000}, "float32")
    writer.write(0, dict(zip(ids, points, strict=True)))
    monkeypatch.setattr("distill.commands.cluster._NEIGHBOURHOOD", neighbourhood)
    head, _ = _head(EmbeddingStore(tmp_path), "")
    assert head.sum() == pytest.approx(100, abs=2)
    assert head[:100].mean() > 0.97


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
        (["fit", "--out", "x"], "--student is required"),
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


def test_a_config_cannot_import_what_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "c.yaml").write_text("teacher: evil.Teacher\n")
    code, line = failure(capsys, "fit", "--config", tmp_path / "c.yaml")
    assert code == 2
    assert "--allow_import evil" in line


def test_a_yaml_bomb_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 20))
    (tmp_path / "c.yaml").write_text(f"l0: &l0 x\n{levels}\n")
    assert "aliases" in failure(capsys, "fit", "--config", tmp_path / "c.yaml")[1]


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


def test_every_listed_teacher_has_a_licence_and_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "teachers")
    printed = capsys.readouterr().out
    for name in distill.list_teachers():
        assert f"  {name} " in printed
    assert "not stated" not in printed
    assert "M2D" in printed


def test_embed_goes_on_and_refuses_another_encoder(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(6))
    first = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0).read_all()
    again = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0, batch_size=1).read_all()
    assert np.array_equal(first, again)
    ast = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
    with pytest.raises(UserError, match="encoder is 'spectral', not 'ast'"):
        distill.embed(data, str(tmp_path / "s"), teacher=ast, workers=0)
    with pytest.raises(UserError, match=r"crop_seconds is 10\.0, not 0\.2"):
        distill.embed(data, str(tmp_path / "s"), teacher="spectral", crop=distill.Crop(0.2), workers=0)


def test_whole_clips_of_unequal_length_are_not_all_padded_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, seconds in enumerate((0.2, 0.3, 4.0, 0.2, 0.1, 0.1, 0.1)):
        soundfile.write(tmp_path / f"{number}.wav", tone(400 + 50 * number, seconds), 16_000)
    (tmp_path / "5.wav").write_bytes(b"no sound")
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop(0))
    together = distill.embed(str(tmp_path), str(tmp_path / "a"), teacher="spectral", crop=Crop(0), workers=0)
    monkeypatch.setattr("distill.run.embeddings._BATCH_SECONDS", 2.0)
    assert list(_batches(clips, range(7), 3)) == [range(2), range(2, 3), range(3, 6), range(6, 7)]
    apart = distill.embed(str(tmp_path), str(tmp_path / "b"), teacher="spectral", crop=Crop(0), workers=0)
    assert apart.ids == together.ids
    assert [clip.id for clip in apart.set_aside] == ["5.wav"]
    assert np.allclose(apart.read_all(), together.read_all(), atol=1e-3)


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


FEWER_BITS = [("mobilenet_v3", "bfloat16", 0.999)]  # convolutions stay as they are in int8
FEWER_BITS += [(name, "bfloat16", 0.999) for name in ("ast", "beats", "clap", "ssast")]
FEWER_BITS += [(name, "int8", 0.98) for name in ("ast", "beats", "clap", "ssast")]


@pytest.mark.parametrize(("name", "precision", "similar"), FEWER_BITS)
def test_fewer_bits_give_nearly_the_same_and_are_told_apart(
    name: str, precision: str, similar: float, sounds: Callable[..., Path], tmp_path: Path, options: Options
) -> None:
    data, arithmetic = str(sounds(4, seconds=1.0)), distill.Arithmetic(precision)
    encoder: dict[str, Any] = {"teacher": {"class_path": name, "init_args": options.get(name)}}
    if name == "mobilenet_v3":
        encoder = {"model": options["frozen"]["student"]}
    full = distill.embed(data, str(tmp_path / "a"), workers=0, **encoder).read_all()
    fewer = distill.embed(data, str(tmp_path / "b"), workers=0, arithmetic=arithmetic, **encoder).read_all()
    cosine = (full * fewer).sum(1) / (np.linalg.norm(full, axis=1) * np.linalg.norm(fewer, axis=1))
    assert cosine.min() > similar
    assert np.abs(full - fewer).max() > 0
    with pytest.raises(UserError, match=f"precision is 'float32', not '{precision}'"):
        distill.embed(data, str(tmp_path / "a"), workers=0, arithmetic=arithmetic, **encoder)


def test_a_compiled_encoder_says_the_same() -> None:
    student = distill.create_student(TinyConvolution, channels=3).eval()
    batch = distill.AudioBatch.of(torch.randn(2, 4000), 16_000)
    compiled = distill.Arithmetic(compile=True).apply(student)
    torch.testing.assert_close(compiled(batch).clip, student(batch).clip, atol=1e-5, rtol=1e-5)


def test_the_readme_has_the_table_of_teachers() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert teacher_table() in readme, "put the output of `distill list teachers --markdown` into README.md"


class Weighed(Loudness):
    """Bands that weights mix, which are no option."""

    def __init__(self) -> None:
        super().__init__()
        self.mixes = torch.nn.Linear(3, 3, bias=False)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(self.mixes(super().encode(batch).clip))


def trained(weight: float) -> Weighed:
    """The same class and options, with weights as from another file."""
    teacher = Weighed()
    with torch.no_grad():
        teacher.mixes.weight.fill_(weight)
    return teacher


def test_the_fingerprint_of_an_encoder_is_of_its_class_options_and_weights() -> None:
    known = encoder_fingerprint(trained(0.5))
    assert encoder_fingerprint(trained(0.5)) == known
    retrained = encoder_fingerprint(trained(0.25))
    assert {name for name in known if known[name] != retrained[name]} == {"weights"}
    assert encoder_fingerprint(distill.create_teacher(Loudness, bands=4)) != encoder_fingerprint(
        distill.create_teacher(Loudness, bands=5)
    )
    student = distill.create_student(TinyConvolution)
    before = encoder_fingerprint(student)
    with torch.no_grad():
        student.convolution.bias[0] += 1e-3
    after = encoder_fingerprint(student)
    assert {name for name in before if before[name] != after[name]} == {"weights"}
    assert identity(trained(0.5)) == identity(trained(0.5)) != identity(trained(0.25))


def test_a_store_goes_on_only_with_the_encoder_and_the_input_that_it_began_with(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    table, out = sounds(3, seconds=0.2) / "clips.csv", str(tmp_path / "store")
    table.write_text("id,path,start\na,class0/000.wav,0\nb,class1/001.wav,0.05\n")

    def embed(teacher: distill.Teacher, crop: Crop = Crop()) -> EmbeddingStore:
        return distill.embed(str(table), out, teacher=teacher, crop=crop, workers=0, device="cpu")

    first = embed(trained(0.5)).read_all()
    assert np.array_equal(embed(trained(0.5)).read_all(), first)
    with pytest.raises(StoreError, match="other embeddings than requested: weights is '"):
        embed(trained(0.25))
    slow = trained(0.5)
    slow.sample_rate = 8_000
    with pytest.raises(StoreError, match=r"requested: sample_rate is 16000, not 8000\. "):
        embed(slow)
    with pytest.raises(StoreError, match=r"crop_position is 'centre', not 'start'; crop_seconds is 10\.0, not 0\.1\."):
        embed(trained(0.5), Crop(0.1, "start"))
    table.write_text(table.read_text().replace("0.05", "0.1"))
    with pytest.raises(StoreError, match="requested: windows is '"):
        embed(trained(0.5))


@pytest.mark.parametrize("policy", ["RESAMPLER", "CHANNEL_POLICY"])
def test_a_store_is_not_gone_on_with_by_a_version_that_decodes_otherwise(
    policy: str, sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"data": str(sounds(2, seconds=0.2)), "out": str(tmp_path / "store"), "workers": 0}
    distill.embed(teacher=distill.create_teacher(Loudness), **options)
    monkeypatch.setattr(dataset, policy, "another")
    with pytest.raises(StoreError, match=r"requested: (resampler|channels) is '[^']*', not 'another'"):
        distill.embed(teacher=distill.create_teacher(Loudness), **options)
