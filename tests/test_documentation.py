"""Every command and every Python block of the tutorial, the guides and README.md runs, on tiny data with tiny networks.

The blocks of a page run in their order, in one folder. Names of checkpoints and addresses are replaced by files of this
machine, sizes by tiny ones: see `REPLACED` and `tiny`.
"""

from __future__ import annotations

import csv
import itertools
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

import fsspec
import huggingface_hub
import numpy as np
import pytest
import soundfile

from distill.cli.shell import main
from distill.students import STUDENTS
from experiments.demo import copy_sounds
from tests.conftest import GOLDEN, tone
from tests.data.clips.containers.tars import sound, write_tar
from tests.students.hear.tiny import HEAR_OPTIONS
from tests.teachers.clap_files import write_clap

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("tutorial", "field_recordings", "text_search", "reproduce_hear")),
]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$|(?<=\n\n)((?: {4}[^\n]*\n)+)", re.M | re.S)
REPLACED = {
    "MIT/ast-finetuned-audioset-10-10-0.4593": str(GOLDEN / "ast" / "ast_tiny"),
    "SSAST-Base-Frame-400.pth": f"{GOLDEN / 'ssast' / 'ssast_tiny_frame.pth'} --teacher.heads 4",
    "laion/clap-htsat-unfused": "clap_tiny",
    "s3://bucket": "memory://bucket",
    "--budget 2h": "",  # the steps are set by `tiny`
    'student="mobilenet_v3"': 'student={"class_path": "mobilenet_v3", "init_args": {"width": 0.1}}, max_steps=2',
    'out="runs/first"': 'out="runs/first", overwrite=True',  # the commands above wrote it
}
TINY_STUDENTS = {"cnn": {"width": 0.3}, "mobilenet_v3": {"width": 0.1}, "my_parts.Tiny": {}}
TINY_RECIPES = {  # of HEAR, whose students and objectives have sizes of their own
    "tokenizer.yaml": {"student": {**HEAR_OPTIONS, "codes": 32}, "objective": {**HEAR_OPTIONS, "code_dim": 4}},
    "mam.yaml": {"student": HEAR_OPTIONS},
    "finetune_esc50.yaml": {"student": {"task_hidden": 16}},
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the blocks of a page: the language, "sh" or "python", and the text."""
    found = BLOCK.findall((ROOT / page).read_text())
    return [(language or "sh", text or textwrap.dedent(indented)) for language, text, indented in found]


def commands(text: str) -> list[str]:
    """Return the commands of a block. A backslash continues a line."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def tiny(words: list[str]) -> list[str]:
    """Return the words of a command with options for tiny networks and few steps."""
    if words[0] != "fit":
        return words
    named = {name: value for name, value in itertools.pairwise(words) if name.startswith("--")}
    sizes = TINY_RECIPES.get(Path(named.get("--config", "")).name)
    sizes = sizes or {"student": TINY_STUDENTS[named.get("--student", "cnn")]}
    steps = ["--max_steps=2", "--batch_size=4", "--engine.workers=0", "--engine.accelerator=cpu"]
    return words + steps + [f"--{part}.{name}={value}" for part in sizes for name, value in sizes[part].items()]


def replaced(text: str) -> str:
    for public, local in REPLACED.items():
        text = text.replace(public, local)
    return text


def run(command: str) -> None:
    """Run a command of a page. A target of make must exist; it is not run, and neither is an installation."""
    words = [name for word in shlex.split(command, comments=True) for name in sorted(glob(word)) or [word]]
    if words[0] == "distill":
        if words[1] == "embed":  # README.md names one store in several examples
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        main(tiny(words[1:]))
    elif words[0] == "cp":
        subprocess.run(words, check=True)
    elif words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets), command
    else:
        assert words == ["source", ".venv/bin/activate"], f"this test does not know how to run {command!r}"


def write_esc50(folder: Path) -> None:
    """Write ten clips in the layout of ESC-50, two classes in each of the five folds."""
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = [["filename", "fold", "target", "category"]]
    for number in range(10):
        fold, target = number % 5 + 1, number // 5
        rows.append([f"{fold}-{number}-A-{target}.wav", str(fold), str(target), ("dog", "rain")[target]])
        soundfile.write(folder / "audio" / rows[-1][0], tone(300 + 300 * target, 1.0, 44_100, number), 44_100)
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def place(tmp_path: Path, sounds: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of a reader, who has the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(STUDENTS, "_registered", {})  # README.md registers a name
    shutil.copytree(ROOT / "experiments" / "hear", tmp_path / "experiments" / "hear")
    copy_sounds(tmp_path / "experiments" / "demo_sounds", 40)
    sounds(8, name="labelled")
    write_esc50(tmp_path / "ESC-50")
    for name, seconds in (("recordings/night.wav", 70), ("night.wav", 7), ("query.wav", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(name, tone(440, seconds), 16_000)
    with open("labels.csv", "w") as file:
        file.write("path,start,end,label\n")
        file.writelines(f"recordings/night.wav,{3 * n},{3 * n + 3},{('owl', 'fox')[n % 2]}\n" for n in range(20))
    members = {f"{n}.flac": sound(300 + 100 * n) for n in range(4)}
    write_tar(tmp_path / "shards" / "0.tar", members)
    bucket = fsspec.filesystem("memory")
    for name, content in members.items():
        bucket.pipe_file(f"/bucket/folder/{name}", content)
    yield tmp_path
    bucket.store.clear()


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page != "docs/tutorial.md":  # which copies the sounds of the demo
        shutil.copytree(place / "labelled", place / "my_sounds")
    if page == "docs/text_search.md":  # CLAP takes seconds to write
        write_clap(place / "clap_tiny")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(place / "labelled"))
    names = {"waveform": np.zeros(44_100, np.float32)}
    for language, public in blocks(page):
        text = replaced(public)
        if language == "sh":
            for command in commands(text):
                run(command)
        elif text.startswith("# my_parts.py"):
            (place / "my_parts.py").write_text(text)
        else:
            exec(text, names)
