"""The parts of the pocket benchmark's renderer that need no synthesiser."""

from __future__ import annotations

from pathlib import Path

from distill.data.layouts import read_layout
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


def test_two_words_are_most_of_the_long_tailed_list(tmp_path: Path) -> None:
    renderer = Renderer(tmp_path, SIZES["small"], 0, held_out=False)
    renderer.pool()
    renderer.write_pool(silent=set())
    lists = tmp_path / "audioset"
    ids = [line.split(",")[0] for line in (lists / "long_tailed_train_segments.csv").read_text().splitlines()[3:]]
    head = {clip for clip in renderer.listed if clip.endswith(("_water", "_music"))}
    assert len(head) == 120
    assert abs(sum(clip in head for clip in ids) / len(ids) - 0.88) < 0.005
    assert set(ids) == set(renderer.listed)
    speech = (lists / "unbalanced_train_segments.csv").read_text().count("\nspeech_")
    assert 0.85 < speech / (len((lists / "unbalanced_train_segments.csv").read_text().splitlines()) - 3) < 0.91
