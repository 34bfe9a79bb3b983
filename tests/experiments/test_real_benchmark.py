"""Results, stores, tables and pitch probes of the benchmark on real sound, without training."""

from __future__ import annotations

import csv
import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.real import benchmark, process
from experiments.real.changes import cells, ranks, spearman
from experiments.real.choice import teachers
from experiments.real.pitch import Notes
from experiments.real.process import Ended, Failed
from experiments.real.process import distill as run_distill
from experiments.real.rows import Goal, mean_error, small_students, table_of
from experiments.real.specialists import specialists, write_domains
from experiments.real.study import Recipe, Study, common_neighbours
from experiments.real.views import views


def study(tmp_path: Path, **options: object) -> Study:
    for name in ("drums", "instruments", "kinds", "voices", "pool", "notes", "small"):
        (tmp_path / f"{name}.csv").write_text("path,start,end,label,split\n" + "a.wav,0,1,x,train\nb.wav,0,1,x,train\n")
    return Study(tmp_path, tmp_path, tmp_path / "out", **options)  # type: ignore[arg-type]


def test_a_measurement_that_has_a_line_is_not_repeated(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, float]:
        calls.append(1)
        return {"mean": 0.5}

    first = study(tmp_path).once({"row": "default", "seed": 0}, measure)
    assert study(tmp_path).once({"row": "default", "seed": 0}, measure) == first
    study(tmp_path).once({"row": "default", "seed": 1}, measure)
    assert len(calls) == 2
    study(tmp_path, more_words=("--max_steps", "2")).once({"row": "default", "seed": 0}, measure)
    (tmp_path / "pool.csv").write_text("path,start,end,label,split\n")
    Study(tmp_path, tmp_path, tmp_path / "out").once({"row": "default", "seed": 0}, measure)
    assert len(calls) == 4  # other options and other clips are measured


def test_a_limit_keeps_some_clips_of_each_label_and_split(tmp_path: Path) -> None:
    limited = study(tmp_path, limit=1).table("drums")
    assert list(csv.reader(io.StringIO(limited.read_text())))[1:] == [["a.wav", "0", "1", "x", "train"]]


def test_recipes_with_other_words_have_other_folders_and_share_a_store(tmp_path: Path) -> None:
    place = study(tmp_path)
    first, second = Recipe("default"), Recipe("default", words=("--max_steps", "3"))
    assert place.run_folder(first, 0) != place.run_folder(second, 0)
    words = place.fit_words(second, tmp_path / "run", second.store)
    assert words[words.index("--store") + 1].endswith("stores/musicnn_pool")
    assert words[-2:] == ["--max_steps", "3"]
    assert Recipe("x", "crepe", frames=True).store == "crepe_pool_frames"


def test_a_recipe_with_another_crop_gets_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops: dict[str, str] = {}

    def fit(words: list[str], log: Path) -> Ended:
        store, crop = words[words.index("--store") + 1], words[words.index("--crop.seconds") + 1]
        if crops.setdefault(store, crop) != crop:
            raise Failed(f"{store} holds other embeddings than requested")
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        return Ended(1.0, ["end"])

    monkeypatch.setattr(process, "distill", fit)
    place = study(tmp_path)
    for seconds in ("3", "6", "3"):
        recipe = Recipe(f"crop {seconds}", words=("--crop.seconds", seconds))
        ended = json.loads((place.trained(recipe, 0) / "ended.json").read_text())
        assert ended["cpu_seconds"] == 1.0
    assert {Path(store).name: crop for store, crop in crops.items()} == {"musicnn_pool": "3", "musicnn_pool_2": "6"}


def test_a_command_that_fails_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"(?s)ended with \d.*no_such_command"):
        run_distill(["no_such_command"], tmp_path / "log")
    ended = run_distill(["--help"], tmp_path / "log")
    assert 0.01 < ended.cpu_seconds < 60
    assert ended.last_lines


def test_spearman_shares_the_ranks_of_equal_values() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [2.5, 0.0, 2.5, 1.0]
    assert spearman([1, 2, 3], [10, 100, 1_000]) == pytest.approx(1)
    # Two pairs of 10 are in the other order: 1 - 6 * sum(d^2) / (n (n^2 - 1)) = 1 - 6 * 4 / 990
    assert spearman(range(10), [1, 0, 3, 2, *range(4, 10)]) == pytest.approx(1 - 6 * 4 / 990)


STANDARD = {
    "steps": 1_000,
    "config": {
        "objective": {"class_path": "embedding", "init_args": {"targets": "standardised", "projector": "linear",
                                                               "loss": "cosine", "augmentation": {"mixup": 0.0}}},
        "optimizer": {"learning_rate": 0.003},
        "student": {"class_path": "cnn", "init_args": {"width": 1.0}},
    },
}  # fmt: skip


def test_cells_change_one_thing_and_leave_out_the_default() -> None:
    made = list(cells(STANDARD))
    assert len({words for _, _, words in made}) == len(made)
    values = {name: {value for other, value, _ in made if other == name} for name, _, _ in made}
    assert "standardised" not in values["targets"]
    assert "raw" in values["targets"]
    assert values["projector"] == {"mlp"}
    assert "cosine" not in values["loss"]
    assert "mse" in values["loss"]
    assert values["steps"] == {"500", "2000"}
    assert values["rate"] == {"0.0009", "0.009"}
    assert "cnn width 1.0" not in values["student"]
    assert "cnn width 0.6" in values["student"]


def record(mean: float, **more: object) -> dict[str, object]:
    scores = dict.fromkeys(("drums", "instruments", "kinds"), mean)
    return {"scores": scores, "mean": mean, "tests": dict.fromkeys(scores, 100), "parameters": 7, **more}


def test_a_table_compares_with_mel_statistics_and_the_teacher(tmp_path: Path) -> None:
    place = study(tmp_path)
    place.once({"row": "baseline", "encoder": "mel"}, lambda: record(0.4))
    place.once({"row": "baseline", "encoder": "musicnn"}, lambda: record(0.8))
    student = {"class_path": "cnn", "init_args": {}}
    for seed in (0, 1):
        place.once({"row": "baseline", "encoder": "untrained", "student": student, "seed": seed}, lambda: record(0.2))
    runs = [record(mean, cpu_seconds=60.0, steps=5, seed=seed, config={"student": student})
            for seed, mean in enumerate((0.6, 0.66))]  # fmt: skip
    lines = table_of(place, "musicnn", [("default", runs)])
    assert lines[4].startswith("| **default** | 7 | 5 | 0.630 ± 0.042 |")
    assert lines[4].endswith("| +0.230 | 0.79 | 1.0 ± 0.0 |")
    assert mean_error(record(0.5)) == pytest.approx(0.05 / 3**0.5)
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])["mean"] == 0.4


def test_small_students_are_made_smaller_by_their_width() -> None:
    chosen = small_students()
    assert ("--student", "cnn") in chosen
    assert ("--student", "dymn", "--student.width", "0.3") in chosen  # 8.6 M parameters with its default width
    assert not {"patch_transformer", "hear", "hear_classifier"} & {words[1] for words in chosen}


def test_a_goal_is_reached_by_the_mean_of_the_seeds(tmp_path: Path) -> None:
    place, recipe = study(tmp_path, seeds=(0, 1)), Recipe("default")
    place.once({"row": "baseline", "encoder": "mel"}, lambda: record(0.4))
    place.once({"row": "baseline", "encoder": "musicnn"}, lambda: record(0.8))
    for seed, mean in enumerate((0.58, 0.6)):
        measured = {"row": "default", "encoder": "student", "seed": seed, **recipe._asdict()}
        place.once(measured, functools.partial(record, mean, cpu_seconds=600.0 * (seed + 1)))
    assert (
        Goal(0.18, 15, 0.73)
        .verdict(place, recipe)
        .endswith("at least mel statistics + 0.18, at least 0.73 of the teacher, within 15 CPU minutes: reached.")
    )
    for missed in (Goal(0.20, 15), Goal(0.18, 14), Goal(0.18, 15, 0.75)):
        assert missed.verdict(place, recipe).endswith("missed.")


def test_the_share_of_common_neighbours_is_read_from_the_quality_report() -> None:
    assert common_neighbours({"quality": {"student": {"agreements": [{"neighbours": 0.46, "r2": 0.6}]}}}) == 0.46
    assert common_neighbours({"quality": None}) is None


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(place: Study) -> list[str]:
        raise Failed("distill fit ended with 1")

    monkeypatch.setitem(benchmark.ROWS, "default", ("The first row", fails))
    monkeypatch.setitem(benchmark.ROWS, "small", ("The second row", lambda place: ["| a table |"]))
    lines = benchmark.section(study(tmp_path), ["default", "small"])
    assert lines[0] == "## Real sound"
    assert lines[-7:] == ["### The first row", "", "Not measured.", "", "### The second row", "", "| a table |"]


def test_pitch_of_clear_tones_is_probed_from_single_frames(tmp_path: Path) -> None:
    place = study(tmp_path)
    rows = ["path,start,end,label,split"]
    for instrument, split in (("One", "train"), ("Two", "train"), ("Three", "train"), ("Four", "test")):
        for label, hertz in (("A", 440.0), ("C", 523.3)):
            name = f"{instrument}_{label}4.wav"
            tone = np.sin(2 * np.pi * hertz * np.arange(8_000) / 16_000)
            soundfile.write(tmp_path / name, 0.1 * tone, 16_000)
            rows.append(f"{name},0.0,0.5,{label},{split}")
    (tmp_path / "notes.csv").write_text("\n".join(rows) + "\n")
    assert Notes(place).score(place.encoder("mel")) == 1.0


def test_all_notes_are_the_domain_of_the_pitch_tracker_but_those_of_tested_instruments(tmp_path: Path) -> None:
    place = study(tmp_path)
    fluid = "audio/fluid-soundfont-gm/sounds/sf2/FluidR3_GM"
    names = [f"{fluid}/Flute_C5.flac", f"{fluid}/808_Clap.flac", "audio/hedgewars-data/voices/a, b.ogg"]
    other, tested = f"{fluid}/Accordian_C5.flac", f"{fluid}/B3_A3.flac"
    for table, rows in (("pool", names), ("pool_all", [*names, other, tested])):
        with open(tmp_path / f"{table}.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [["path", "start", "end", "label", "split"], *([name, 0, 1, "x", ""] for name in rows)]
            )
    assert write_domains(place) == 2
    with open(place.table("pool_domains"), newline="") as file:
        assert [(row["path"], row["domain"]) for row in csv.DictReader(file)] == [
            (names[0], "notes"), (names[1], "rest"), (names[2], "rest"), (other, "notes"),
        ]  # fmt: skip


def test_specialists_are_compared_by_the_mean_of_four_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = study(tmp_path, seeds=(0, 1))
    monkeypatch.setattr("experiments.real.specialists.write_domains", lambda _: (tmp_path / "pool_domains.csv").touch())
    monkeypatch.setattr(
        Study, "teacher_options", lambda _, name: (name, {"checkpoint": "c.pt"} if name == "crepe" else {})
    )
    commands: list[list[str]] = []
    means = {"domain": 0.6, "equal": 0.5, "musicnn": 0.4, "Crepe": 0.7}

    def fit(self: Study, recipe: Recipe, seed: int) -> dict[str, object]:
        commands.append(self.fit_words(recipe, tmp_path, recipe.store))
        mean = next(value for name, value in means.items() if name in recipe.name) + 0.04 * seed * (
            "domain" in recipe.name
        )
        return record(mean, key=f"{recipe.name} {seed}", cpu_seconds=60.0)

    monkeypatch.setattr(Study, "fit", fit)
    monkeypatch.setattr(Study, "baseline", lambda _, name: record(0.3, key=name))
    monkeypatch.setattr(Study, "encoder", lambda _, name: name)
    monkeypatch.setattr(Study, "trained", lambda *_: "run")
    monkeypatch.setattr("experiments.real.specialists.distill.load", lambda run: run)
    monkeypatch.setattr(Notes, "score", lambda *_: 1.0)
    lines = specialists(place)
    both = ["--teacher+", "musicnn", "--teacher+", "crepe", "--teacher.checkpoint", "c.pt"]
    assert all(word in commands[0] for word in both)
    assert commands[2][-1] == '{"notes": "Crepe", "rest": "musicnn"}'
    assert commands[4][commands[4].index("--teacher") :][:2] == ["--teacher", "precomputed"]
    assert (
        "| both teachers, weights by domain | 0.620 ± 0.020 | 0.620 ± 0.020 | 0.620 ± 0.020 | 1.000 ± 0.000 | "
        in lines[3]
    )
    assert "Weights by domain above both teachers, equal weights by 0.090 ± 0.015." in lines  # 3/4 of 0.1 and 0.14
    assert any("above Crepe alone by -0.060 ± 0.015." in line for line in lines)


def test_stored_views_are_compared_with_a_clean_cache_and_a_live_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, commands = study(tmp_path, seeds=(0, 1)), list[list[str]]()
    monkeypatch.setattr(process, "distill", lambda words, log: commands.append(words) or Ended(1.0, []))
    means, seconds = {"clean": 0.5, "live": 0.6, "stored": 0.56}, {"clean": 10.0, "live": 40.0, "stored": 10.5}

    def fit(self: Study, recipe: Recipe, seed: int) -> dict[str, object]:
        commands.append(self.fit_words(recipe, tmp_path, recipe.store))
        kind = next(name for name in means if name in recipe.name)
        return record(
            means[kind] + 0.02 * seed * (kind == "live"), row=recipe.name, cpu_seconds=seconds[kind], steps=100
        )

    monkeypatch.setattr(Study, "fit", fit)
    lines = views(place)
    embed, clean, _, live, _, cached, _ = commands
    assert embed[-6:] == ["--views.count", "4", "--views.gain", "6", "--views.roll", "true"]
    assert clean == [word for word in cached if word not in ("--objective.teacher_input", "same")]
    assert clean[clean.index("--teacher.store") + 1] == embed[embed.index("--out") + 1]
    assert live[live.index("--objective.augmentation.gain") + 1] == "6"
    assert "| clean cache | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 ± 0.000 | 100 |" in lines
    said = next(line for line in lines if line.startswith("Live"))
    assert "above clean by +0.110 (2 standard errors: 0.020), the views by +0.060, at 1.05 of its time" in said


def ranked(**scores: tuple[float, float]) -> list[dict[str, object]]:
    """Return encoders as in rank.json, from their score of the probe and of the crops."""
    cost = {"latency": 0.5, "seconds": 10.0}
    return [
        {"name": name, "probe": {"value": probe}, "crops": {"value": crops}, "effective_rank": 9.0, "cost": cost}
        for name, (probe, crops) in scores.items()
    ]


def test_teachers_are_ranked_by_the_command_with_labels_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def rank(words: list[str], log: Path) -> Ended:
        commands.append(words)
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(parents=True)
        voices = folder.name == "voices"
        found = ranked(musicnn=(0.6, 0.2), Crepe=(0.5, 0.3 if voices else 0.1), tflite=(0.4, 0.0))
        (mel,) = ranked(mel=(0.8 if voices else 0.4, 0.05))
        take = None if voices else "musicnn"
        (folder / "rank.json").write_text(json.dumps({"take": take, "sample": {}, "teachers": found, "mel": mel}))
        return Ended(1.0, ["musicnn scores below mel statistics on your data", "take none of them", "written to x"])

    monkeypatch.setattr(process, "distill", rank)
    monkeypatch.setattr(Study, "teacher_options", lambda _, name: (name, {}))
    means = {"default": 0.6, "BirdNET": 0.5, "crepe: clips": 0.5, "Resemblyzer": 0.4}
    monkeypatch.setattr(Study, "fit", lambda _, recipe, seed: record(means[recipe.name], key=f"{recipe.name} {seed}"))
    monkeypatch.setattr(Study, "trained", lambda _, recipe, seed: recipe.name)
    monkeypatch.setattr("experiments.real.choice.distill.load", lambda run: run)
    pitches = {**means, "crepe: clips": 0.9}
    monkeypatch.setattr(Study, "scores", lambda _, run, tasks: {"scores": {"notes": pitches[run]}})
    lines = teachers(study(tmp_path, seeds=(0,)))
    assert [Path(words[words.index("--data") + 1]).stem for words in commands] == [
        "voices", "drums", "instruments", "kinds", "notes",
    ]  # fmt: skip
    assert commands[0][:5] == ["rank", "--teacher+", "musicnn", "--teacher+", "resemblyzer"]
    assert lines[0].startswith("| task | mel statistics | BirdNET | Crepe | musicnn | first by the probe |")
    assert (
        "| voices | 0.800, 0.050 | 0.400, 0.000 | 0.500, 0.300 | 0.600, 0.200 | mel statistics | Crepe | none |"
        in lines
    )
    assert (
        "| drums | 0.400, 0.050 | 0.400, 0.000 | 0.500, 0.100 | 0.600, 0.200 | musicnn | musicnn | musicnn |" in lines
    )
    assert "Without labels the same is first on 4 of 5 tasks: drums, instruments, kinds, pitch." in lines
    assert "| drums | 0.600 | 0.400 | 0.500 | 0.500 | musicnn | musicnn |" in lines
    assert "| pitch | 0.600 | 0.400 | 0.900 | 0.500 | Crepe | musicnn |" in lines
    best = next(line for line in lines if line.startswith("The teacher that the probe puts first"))
    assert "has the best student on 3 of 4 tasks. Goal: at least 3: reached." in best
    assert lines[-2:] == ["    musicnn scores below mel statistics on your data", "    take none of them"]
    assert teachers(study(tmp_path, seeds=(0,))) == lines  # from the lines of the results
    assert len(commands) == 5
