"""The parts of the pocket benchmark's renderer that need no synthesiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from distill.data.batch import AudioBatch
from distill.data.clips.layouts import read_layout
from experiments.pocket.networks import MultiTask, PocketNetwork
from experiments.pocket.render import SIZES, Renderer, run


def surroundings(folder: Path, jobs: int, held_out: bool = False) -> dict[str, bytes]:
    """Sounds and tables, by path."""
    run(Renderer(folder, SIZES["tiny"], 0, held_out).surroundings(), jobs)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_renders_the_same_bytes_in_any_number_of_processes(tmp_path: Path) -> None:
    once = surroundings(tmp_path / "one", jobs=1)
    assert once == surroundings(tmp_path / "two", jobs=2)
    assert len(once) == 51  # five classes of ten clips, and their table


def test_what_is_rendered_has_the_published_layout(tmp_path: Path) -> None:
    surroundings(tmp_path, jobs=2)
    manifest = read_layout("esc50", tmp_path / "ESC-50")
    assert len(manifest) == 50
    assert len(manifest.classes) == 5
    assert {row.split for row in manifest.rows} == {"1", "2", "3", "4", "5"}


def test_held_out_classes_are_others(tmp_path: Path) -> None:
    names = []
    for held_out in (False, True):
        folder = tmp_path / str(held_out)
        Renderer(folder, SIZES["tiny"], 0, held_out).surroundings()
        names.append({row.split(",")[3] for row in (folder / "ESC-50/meta/esc50.csv").read_text().splitlines()[1:]})
    assert not names[0] & names[1]


def listed(lists: Path, name: str) -> dict[str, list[str]]:
    """Clips of a list, as often as they stand there, with the identifiers of their labels."""
    lines = [line for line in (lists / f"{name}_train_segments.csv").read_text().splitlines() if line[0] != "#"]
    return {f"{number} {line.split(',')[0]}": line.split('"')[1].split(",") for number, line in enumerate(lines)}


def pool_lists(tmp_path: Path) -> Path:
    renderer = Renderer(tmp_path, SIZES["small"], 0, held_out=False)
    renderer.pool()
    renderer.write_pool(silent=set())
    return tmp_path / "audioset"


def test_two_words_are_most_of_the_long_tailed_list(tmp_path: Path) -> None:
    lists = pool_lists(tmp_path)
    ids = [clip.split()[1] for clip in listed(lists, "long_tailed")]
    pool = {clip.split()[1] for clip in listed(lists, "balanced")}
    head = {clip for clip in pool if clip.endswith(("_water", "_music"))}
    assert len(head) == 120
    assert abs(sum(clip in head for clip in ids) / len(ids) - 0.88) < 0.005
    assert set(ids) == pool
    unbalanced = [clip.split()[1] for clip in listed(lists, "unbalanced")]
    assert 0.85 < sum(clip.startswith("speech_") for clip in unbalanced) / len(unbalanced) < 0.91


def test_a_teacher_hears_three_times_the_pool_and_is_told_more(tmp_path: Path) -> None:
    lists = pool_lists(tmp_path)
    pool, described, teacher = (listed(lists, name) for name in ("balanced", "described", "teacher"))
    assert pool.keys() == described.keys()
    assert len(teacher) == 3 * len(pool)
    assert {len(labels) for labels in pool.values()} == {2}  # a broad one and a fine one
    assert all(set(pool[clip]) <= set(described[clip]) for clip in pool)
    speakers = [labels[-1] for clip, labels in teacher.items() if "speech" in clip]
    assert len(set(speakers)) == 180  # of the pool 60
    assert max(len(labels) for labels in described.values()) == 4  # music, an instrument and two notes


def test_evaluation_clips_are_in_no_other_list(tmp_path: Path) -> None:
    lists = pool_lists(tmp_path)
    lines = (lists / "eval_segments.csv").read_text().splitlines()[3:]
    evaluation = {line.split(",")[0] for line in lines}
    assert len(lines) == len(evaluation) == 30
    heard = {clip.split()[1] for name in ("teacher", "long_tailed") for clip in listed(lists, name)}
    assert not evaluation & heard


def test_keywords_come_with_background_noise(tmp_path: Path) -> None:
    Renderer(tmp_path, SIZES["tiny"], 0, held_out=False).keywords()
    noise = sorted((tmp_path / "speech_commands_v0.02" / "_background_noise_").glob("*.wav"))
    assert [soundfile.info(path).duration for path in noise] == [20.0, 20.0]


def test_multi_task_asks_each_clip_only_what_is_known_of_it() -> None:
    student = PocketNetwork(4, classes=5)
    labels = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 1, 1]])  # groups of 2 and 3; of the first clip one is unknown
    batch = replace(AudioBatch.of(torch.randn(2, 16_000), 16_000), labels=labels)
    objective = MultiTask(student.eval(), [2, 3]).eval()
    with torch.no_grad():
        loss = objective(batch)["multi_task"]
        first, second = student(batch).logits.split([2, 3], 1)
    known = -first.log_softmax(1)[[0, 1], [0, 1]].sum() - second[1].log_softmax(0)[1:].mean()
    torch.testing.assert_close(loss, known / 2)
