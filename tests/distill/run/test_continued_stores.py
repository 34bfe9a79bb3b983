"""Stores that were stopped, killed or outdated have the bytes of stores that were not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.cli.shell import main
from distill.data import files
from distill.data.clips.dataset import Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import StoreError, UserError
from distill.data.store import finished, journal, stamps, writer
from distill.data.store.reader import EmbeddingStore
from distill.run import filling
from distill.run.embeddings import Upkeep, fill_store
from distill.run.resuming import Stopped
from tests.conftest import tone


class Mixing(distill.Teacher):
    """Frames of 0.1 s, mixed by weights. It may do something before a batch, such as die."""

    sample_rate = 16_000
    before_batch: Callable[[int], None] = staticmethod(lambda batch: None)

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(64, 5)
        with torch.no_grad():
            for parameter in self.mix.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view(parameter.shape))
        self.batches = 0
        self.clips: list[str] = []

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        if batch.ids != ("0",) and "noise" not in batch.ids[0]:
            self.before_batch(self.batches)
            self.batches += 1
            self.clips.extend(batch.ids)
        frames = self.mix(batch.waveform.unfold(1, 64, 1_600)).tanh()
        valid = (batch.lengths - 64) // 1_600 + 1
        times = 0.002 + 0.1 * torch.arange(frames.shape[1])
        return distill.Embeddings.of_frames(frames, times, distill.frame_mask(valid, frames.shape[1]))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven clips of unequal length, of which one cannot be read, in shards of six and of four."""
    monkeypatch.setattr(writer, "_ROWS_PER_SHARD", 6)
    monkeypatch.setattr(writer, "_ROWS_WITH_FRAMES", 4)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(11):
        soundfile.write(folder / f"{number:02d}.wav", tone(300 + 40 * number, 0.3 + 0.1 * (number % 4)), 16_000)
    (folder / "03.wav").write_bytes(b"no sound")
    os.rename(folder / "07.wav", os.fsencode(folder) + b"/caf\xe9.wav")  # not UTF-8
    return folder


def embed(data: Path, out: Path, frames: bool = False, **options: Any) -> tuple[EmbeddingStore, Mixing]:
    teacher = options.pop("teacher", None) or Mixing()
    upkeep = Upkeep(drop=True, **options)
    store = fill_store(
        teacher, read_manifest(data), out, Crop(), 2, workers=0, device="cpu", frames=frames, upkeep=upkeep
    )
    return store, teacher


def content(store: Path) -> dict[str, bytes]:
    """The bytes of all files of a store."""
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if not path.name.startswith(".")}


def numbers(store: EmbeddingStore) -> dict[str, list[float]]:
    return dict(zip(store.ids, store.read_all().tolist(), strict=True))


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("ends", ["error", "interrupt", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_a_stopped_store_gets_the_bytes_of_a_whole_one(
    batch: int, ends: str, frames: bool, data: Path, tmp_path: Path
) -> None:
    embed(data, tmp_path / "whole", frames)

    def stop(now: int) -> None:
        if now == batch:
            if ends.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, ends))
            else:
                raise RuntimeError("out of memory") if ends == "error" else KeyboardInterrupt

    teacher = Mixing()
    teacher.before_batch = stop
    error = {"error": RuntimeError, "interrupt": KeyboardInterrupt}.get(ends, Stopped)
    with pytest.raises(error) as raised:
        embed(data, tmp_path / "s", frames, teacher=teacher)
    if isinstance(raised.value, Stopped):
        assert raised.value.exit_code == 128 + getattr(signal, ends)
        assert "clips, which are kept; run the same command again to continue" in str(raised.value)
    _, continued = embed(data, tmp_path / "s", frames)
    assert not set(continued.clips) & set(teacher.clips)  # nothing is embedded twice
    assert len(continued.clips) + len(teacher.clips) == 10
    assert content(tmp_path / "s") == content(tmp_path / "whole")


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from distill.data.store import writer
from tests.distill.run.test_continued_stores import Mixing, embed
writer._ROWS_PER_SHARD, writer._ROWS_WITH_FRAMES = 6, 4
teacher = Mixing()
teacher.before_batch = lambda batch: os.kill(os.getpid(), signal.SIGKILL) if batch == int(sys.argv[4]) else None
seconds = itertools.count(0, 60)
embed(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "True", teacher=teacher, clock=lambda: next(seconds))
"""


@pytest.mark.parametrize("frames", [False, True])
def test_kill_9_loses_only_what_was_done_since_the_last_minute(frames: bool, data: Path, tmp_path: Path) -> None:
    whole, _ = embed(data, tmp_path / "whole", frames)
    arguments = [sys.executable, "-c", KILLED, data, tmp_path / "s", str(frames), str(4 - frames)]
    killed = subprocess.run(arguments, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list((tmp_path / "s").glob("*.partial.*"))
    store, teacher = embed(data, tmp_path / "s", frames)
    assert teacher.batches == 2 + frames  # of 6: those of finished shards and one of the next are kept
    assert content(tmp_path / "s") == content(tmp_path / "whole")
    assert numbers(store) == numbers(whole)


def test_rows_are_kept_every_half_minute(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(writer.StoreWriter, "keep", lambda self, shard: kept.append(len(shard.added().ids)))
    seconds = [0.0]

    def clock() -> float:
        return seconds[0]

    teacher = Mixing()
    teacher.before_batch = lambda batch: seconds.__setitem__(0, 16.0 * (batch + 1))
    embed(data, tmp_path / "s", teacher=teacher, clock=clock)
    assert kept == [4, 4]  # after 32 and 80 seconds; a finished shard is written after 48 and 96
    assert filling._KEEP_SECONDS <= 30


def change(data: Path, what: str) -> None:
    if "changed" in what:
        soundfile.write(data / "01.wav", tone(2_000, 0.5), 16_000)
    if "mended" in what:
        soundfile.write(data / "03.wav", tone(900, 0.4), 16_000)
    if "broken" in what:
        (data / "04.wav").write_bytes(b"no sound any more")
    if "removed" in what:
        (data / "00.wav").unlink()
        (data / "10.wav").unlink()
    if "added" in what:
        for number in range(3):
            soundfile.write(data / f"0{number}_new.wav", tone(700 + number, 0.3), 16_000)
    if "copied" in what:
        for path in data.iterdir():
            os.utime(path, ns=(9, 9))


CHANGES = {
    "changed": "0 new, 1 changed, 0 removed, 10 unchanged",
    "mended": "0 new, 1 changed, 0 removed, 10 unchanged",
    "broken": "0 new, 1 changed, 0 removed, 10 unchanged",
    "removed": "0 new, 0 changed, 2 removed, 9 unchanged",
    "added": "3 new, 0 changed, 0 removed, 11 unchanged",
    "copied": "0 new, 0 changed, 0 removed, 11 unchanged",
    "changed mended broken removed added": "3 new, 3 changed, 2 removed, 6 unchanged",
}


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_an_updated_store_holds_what_a_new_one_would(
    what: str, frames: bool, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = embed(data, tmp_path / "s", frames)
    change(data, what)
    capsys.readouterr()
    updated, teacher = embed(data, tmp_path / "s", frames)
    assert capsys.readouterr().out.splitlines()[0] == CHANGES[what]
    fresh, _ = embed(data, tmp_path / "fresh", frames)
    expected = numbers(fresh)
    assert sorted(updated.ids) == sorted(fresh.ids)
    for clip_id, vector in numbers(updated).items():
        np.testing.assert_allclose(vector, expected[clip_id], atol=1e-3)
    assert {clip.id for clip in updated.set_aside} == {clip.id for clip in fresh.set_aside}
    if frames:
        for clip_id in fresh.ids:
            np.testing.assert_allclose(updated.frames([clip_id])[0], fresh.frames([clip_id])[0], atol=1e-3)
    updated.verify()
    words = CHANGES[what].split()
    assert len(teacher.clips) == int(words[0]) + int(words[2]) - ("broken" in what)
    old = [clip_id for clip_id in first.ids if clip_id in updated]
    assert [clip_id for clip_id in updated.ids if clip_id in old or clip_id in first] == old  # in the order of before
    embed(data, tmp_path / "s", frames)
    assert "0 new, 0 changed, 0 removed" in capsys.readouterr().out


@pytest.mark.parametrize("batch", range(4))
def test_an_update_that_was_killed_goes_on(batch: int, data: Path, tmp_path: Path) -> None:
    embed(data, tmp_path / "s")
    change(data, "changed mended broken removed added")
    expected = numbers(embed(data, tmp_path / "fresh")[0])
    teacher = Mixing()

    def die(now: int) -> None:
        if now == batch:
            raise MemoryError

    teacher.before_batch = die
    try:
        embed(data, tmp_path / "s", teacher=teacher)
    except MemoryError:
        continued, rest = embed(data, tmp_path / "s")
        assert len(teacher.clips) + len(rest.clips) == 5
    else:
        continued = EmbeddingStore(tmp_path / "s")
    found = numbers(continued)
    assert found.keys() == expected.keys()
    for clip_id, vector in found.items():
        np.testing.assert_allclose(vector, expected[clip_id], atol=1e-3)
    assert not list((tmp_path / "s").glob("*.partial.*"))


def test_an_open_store_does_not_mix_old_and_new_shards(data: Path, tmp_path: Path) -> None:
    store, _ = embed(data, tmp_path / "s")
    before = store[["01.wav"]]
    change(data, "changed")
    embed(data, tmp_path / "s")
    np.testing.assert_array_equal(store[["01.wav"]], before)  # its file is still open
    np.testing.assert_array_equal(store[["08.wav"]], EmbeddingStore(tmp_path / "s")[["08.wav"]])
    (data / "09.wav").unlink()
    fresh = EmbeddingStore(tmp_path / "s")
    embed(data, tmp_path / "s")
    with pytest.raises(StoreError, match="was updated while it was read; run the command again"):
        fresh[["10.wav"]]


def test_other_data_is_refused_before_anything_is_dropped(data: Path, tmp_path: Path, sounds: Any) -> None:
    embed(data, tmp_path / "s")
    before = content(tmp_path / "s")
    with pytest.raises(StoreError, match="holds 11 clips, and none of them is in the data; choose another folder"):
        embed(sounds(3), tmp_path / "s")
    assert content(tmp_path / "s") == before


@pytest.mark.parametrize("write", range(8))
def test_a_full_disk_loses_nothing_that_was_written(
    write: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(data, tmp_path / "s")
    change(data, "changed broken removed added")
    expected = numbers(embed(data, tmp_path / "fresh")[0])
    writes = []

    def full(path: Path, content: Callable[[Any], object], write_atomically: Any = files.write_atomically) -> None:
        writes.append(path)
        if len(writes) > write:
            raise OSError(28, "No space left on device")
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        for module in (files, finished, journal, stamps):
            patch.setattr(module, "write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            embed(data, tmp_path / "s")
    found = numbers(embed(data, tmp_path / "s")[0])
    assert found.keys() == expected.keys()
    for clip_id, vector in found.items():
        np.testing.assert_allclose(vector, expected[clip_id], atol=1e-3)


def test_a_broken_clip_alone_in_a_new_shard_does_not_stop_the_work(data: Path, tmp_path: Path) -> None:
    (data / "zz_broken.wav").write_bytes(b"no sound")
    embed(data, tmp_path / "s")
    (data / "zzz_broken.wav").write_bytes(b"no sound")  # the first row of the third shard
    store, _ = embed(data, tmp_path / "s")
    assert len(store.set_aside) == 3
    for name in data.iterdir():
        name.write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"none of 13 clips could be embedded; the first: 00\.wav"):
        embed(data, tmp_path / "none")
    soundfile.write(data / "05.wav", tone(700), 16_000)
    assert embed(data, tmp_path / "none")[0].ids == ["05.wav"]


def failed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and last line of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0), capsys.readouterr().err.strip().splitlines()[-1]


def test_a_signal_ends_the_commands_with_one_line_that_says_how_to_continue(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(batch: int) -> None:
        if batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    words = ["--teacher=tests.distill.run.test_continued_stores.Mixing", "--data", data]
    monkeypatch.setattr(Mixing, "before_batch", staticmethod(stop))
    code, line = failed(capsys, "embed", *words, "--out", tmp_path / "s", "--batch_size=2", "--workers=0")
    assert code == 143
    kept = r"distill: error: stopped after [24] of 11 clips, which are kept; "
    assert re.fullmatch(f"{kept}run the same command again to continue", line)
    student = ["--student=tests.own_parts.TinyConvolution", "--engine.workers=0", "--engine.accelerator=cpu"]
    fit = [*words, *student, "--batch_size=2", "--max_steps=2", "--out", tmp_path / "run"]
    code, line = failed(capsys, "fit", *fit)
    assert code == 143
    command = f"distill fit --resume true --out {re.escape(str(tmp_path / 'run'))} --allow_import tests"
    assert re.fullmatch(f"{kept}continue with: {command}", line)
    monkeypatch.undo()
    main(["embed", *map(str, words), "--out", str(tmp_path / "s"), "--batch_size=2", "--workers=0"])
    main(["fit", "--resume", "true", "--out", str(tmp_path / "run"), "--allow_import", "tests"])
    assert len(EmbeddingStore(tmp_path / "s")) == len(EmbeddingStore(tmp_path / "run" / "embeddings")) == 10
    assert (tmp_path / "run" / "student" / "config.json").exists()


def test_fit_only_adds_to_a_store_of_more_clips(data: Path, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    for name in ("01.wav", "02.wav", "05.wav", "06.wav"):
        (data / name).rename(tmp_path / "part" / name)
    soundfile.write(tmp_path / "part" / "more.wav", tone(500), 16_000)
    for path in (tmp_path / "part").iterdir():
        (data / path.name).symlink_to(path)
    (data / "more.wav").unlink()
    embed(data, tmp_path / "s")
    options: dict[str, Any] = {"engine": distill.Engine(workers=0, accelerator="cpu"), "batch_size": 2, "max_steps": 2}
    distill.fit(
        data=str(tmp_path / "part"), teacher=Mixing(), student="tests.own_parts.TinyConvolution",
        out=str(tmp_path / "run"), store=str(tmp_path / "s"), **options,
    )  # fmt: skip
    store = EmbeddingStore(tmp_path / "s")
    assert len(store) == 11
    assert store.ids[-1] == "more.wav"
    assert store.removed == 0
    assert not (tmp_path / "run" / "set_aside.csv").exists()  # 03.wav is not in this data
