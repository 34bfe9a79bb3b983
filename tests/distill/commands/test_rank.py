"""Which teacher fits the user's sounds: from the data to the table, and mistakes that are found before the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.cli.shell import main
from distill.data.errors import UserError
from distill.teachers import TEACHERS
from tests.own_parts import Loudness

HERE = "tests.distill.commands.test_rank"
OFFSET = f"{HERE}.Offset"
PARTIAL = f"{HERE}.Partial"


class Offset(distill.Teacher):
    """Mean of the samples, which mel statistics cannot see."""

    sample_rate = 16_000
    weights = None

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        mean = batch.waveform.sum(1) / batch.lengths
        return distill.Embeddings.of_clip(torch.stack([mean, 10 * mean.abs()], dim=1))


class Partial(Loudness):
    """A teacher that gives NaN for clips with a negative mean below -0.25."""

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        mean = batch.waveform.sum(1) / batch.lengths
        clip = super().encode(batch).clip.masked_fill((mean < -0.25).unsqueeze(1), torch.nan)
        return distill.Embeddings.of_clip(clip)


def offsets(folder: Path, clips: int = 40, name: str = "{label}/{number:03d}.wav") -> Path:
    """Write noise with an offset of its own for each clip, positive or negative, which is the label."""
    for number in range(clips):
        sign = 1 if number % 2 else -1
        path = folder / name.format(label="above" if sign > 0 else "below", number=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(number).standard_normal(8_000)
        soundfile.write(path, noise + sign * (0.1 + 0.005 * number), 16_000, subtype="FLOAT")
    return folder


def test_the_teacher_that_fits_is_first_and_the_probe_is_that_of_probe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(offsets(tmp_path / "sounds")), tmp_path / "rank"
    found = distill.rank(data, teacher=["tests.own_parts.Loudness", OFFSET], out=str(out), workers=0)
    assert [teacher.name for teacher in found.teachers] == ["Offset", "Loudness"]
    assert found.best == "Offset"
    for teacher, name in zip(found.teachers, (OFFSET, "tests.own_parts.Loudness"), strict=True):
        alone = distill.probe(data, teacher=name, out=str(tmp_path / name), workers=0)
        assert teacher.probe is not None
        assert (teacher.probe.value, teacher.probe.interval) == (alone.score, alone.interval)
        assert teacher.probe.over_mel == alone.baselines[0].lead
        assert teacher.identity == alone.identity
        assert alone.cost is not None
        assert teacher.cost.parameters == alone.cost.parameters
    first = found.teachers[0]
    assert first.crops is not None
    assert first.crops.value > 0.3  # of 40 clips, whose offsets are 0.005 apart
    assert 1 <= first.effective_rank <= 2
    lines = capsys.readouterr().out.splitlines()
    assert "take Offset" in lines
    assert any(line.startswith("Loudness scores ") and "there is little to distil" in line for line in lines)
    written = json.loads((out / "rank.json").read_text())
    assert written["take"] == "Offset"
    assert written["sample"]["clips"] == 40
    assert written["teachers"][0]["probe"]["over_mel"] == list(first.score.over_mel)


def test_a_second_call_embeds_only_what_is_new(tmp_path: Path) -> None:
    data, out = str(offsets(tmp_path / "sounds")), tmp_path / "rank"
    before = distill.rank(data, teacher=OFFSET, clips=20, out=str(out), workers=0)
    assert before.sample.clips == 20

    def times() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(out.rglob("*.bin"))}

    first = times()
    again = distill.rank(data, teacher=OFFSET, clips=20, out=str(out), workers=0)
    assert times() == first
    assert again.teachers[0].probe == before.teachers[0].probe
    other = distill.rank(data, teacher=["tests.own_parts.Loudness", OFFSET], clips=20, out=str(out), workers=0)
    assert first.items() <= times().items()
    assert [teacher.probe for teacher in other.teachers if teacher.name == "Offset"] == [before.teachers[0].probe]


def test_without_labels_the_crops_rank(tmp_path: Path) -> None:
    data = str(offsets(tmp_path / "sounds", name="{number:03d}.wav"))
    found = distill.rank(data, teacher=[OFFSET, "tests.own_parts.Loudness"], out=str(tmp_path / "rank"), workers=0)
    assert found.best == "Offset"
    assert found.teachers[0].probe is found.mel.probe is None
    assert (found.sample.metric, found.sample.pairs) == ("", 40)


def test_a_clip_that_one_teacher_cannot_embed_is_left_out_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = offsets(tmp_path / "sounds")
    (data / "above" / "broken.wav").write_bytes(b"no sound")
    found = distill.rank(str(data), teacher=[OFFSET, PARTIAL], out=str(tmp_path / "rank"), workers=0)
    # Offsets below -0.25 are those of the clips 30, 32, 34, 36 and 38; the noise may change that of 30.
    left_out = found.sample.left_out
    assert left_out in (5, 6)
    assert found.sample.clips == 41 - left_out
    assert found.sample.test_clips == found.sample.clips
    assert found.sample.pairs <= found.sample.clips
    listed = (tmp_path / "rank" / "set_aside.csv").read_text().splitlines()
    assert len(listed) == left_out + 1
    assert sum("not_finite" in line for line in listed) == left_out - 1
    assert f"{left_out} clips are left out for all: not every encoder could embed them" in capsys.readouterr().out


def test_mel_statistics_have_the_highest_sample_rate_of_the_teachers(tmp_path: Path) -> None:
    data = str(offsets(tmp_path / "sounds", 20))
    low = {"class_path": "mel", "init_args": {"sample_rate": 8_000, "high_hz": 4_000.0}}
    found = distill.rank(data, teacher=[low, OFFSET], out=str(tmp_path / "rank"), workers=0)
    (folder,) = (tmp_path / "rank").glob("mel_statistics_*")
    assert distill.probe(data, teacher=OFFSET, out=str(tmp_path / "probe"), workers=0).baselines[0].identity == (
        found.mel.identity
    )
    assert folder.name.endswith(found.mel.identity[:12])


def test_the_command_line_takes_several_teachers_with_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(offsets(tmp_path / "sounds", 20))
    words = ["--teacher", "tests.own_parts.Loudness", "--teacher.bands", "5", f"--teacher+={OFFSET}"]
    main(["rank", *words, "--data", data, "--out", str(tmp_path / "rank"), "--workers", "0"])
    printed = capsys.readouterr().out
    assert "teacher: Loudness" in printed
    assert "16000 Hz, clip 5, no frames" in printed
    assert "take Offset" in printed
    assert set(json.loads((tmp_path / "rank" / "rank.json").read_text())) == {"take", "sample", "teachers", "mel"}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line of a command that ends with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["rank", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_mistakes_are_one_line_and_embed_nothing(
    tmp_path: Path, sounds: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, few = str(offsets(tmp_path / "sounds", 20)), str(sounds(12, name="few"))
    out = ("--out", str(tmp_path / "rank"))
    table = tmp_path / "one.csv"
    names = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "sounds").rglob("*.wav"))
    table.write_text("path,label\n" + "".join(f"{name},dog\n" for name in names))
    teacher = ("--teacher", "spectral")
    assert "unknown teacher 'spectra'; did you mean 'spectral'" in refused(
        capsys, "--teacher", "spectra", "--data", data, *out
    )
    assert "--teacher NAME is required" in refused(capsys, "--data", data, *out)
    assert "has 12 clips, at least 20 are required" in refused(capsys, *teacher, "--data", few, *out)
    assert "--clips 19: must be at least 20" in refused(capsys, *teacher, "--data", data, "--clips", "19", *out)
    assert "all clips have the label 'dog', two classes are required" in refused(
        capsys, *teacher, "--data", str(table), *out
    )
    assert not (tmp_path / "rank").exists()


def test_a_store_cannot_be_ranked(tmp_path: Path) -> None:
    data = str(offsets(tmp_path / "sounds", 20))
    distill.embed(data, str(tmp_path / "store"), teacher="spectral", workers=0)
    stored = TEACHERS.create("precomputed", store=str(tmp_path / "store"))
    with pytest.raises(UserError, match="a store has no crops of its clips"):
        distill.rank(data, teacher=stored, out=str(tmp_path / "rank"), workers=0)


def test_too_few_clips_in_common_or_without_any_score_are_refused(tmp_path: Path) -> None:
    data = str(offsets(tmp_path / "sounds", 22, name="{number:03d}.wav"))
    with pytest.raises(UserError, match=r"only 1[0-9] of 22 clips could be embedded by every teacher"):
        distill.rank(data, teacher=f"{HERE}.Half", out=str(tmp_path / "rank"), workers=0)
    for number in range(20):
        path = tmp_path / "short" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(1_600), 16_000)
    with pytest.raises(UserError, match="no labels, and its clips are too short"):
        distill.rank(str(tmp_path / "short"), teacher="spectral", out=str(tmp_path / "rank2"), workers=0)


class Half(Loudness):
    """A teacher that gives NaN for clips with a negative mean."""

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        clip = super().encode(batch).clip.masked_fill(batch.waveform.sum(1, keepdim=True) < 0, torch.nan)
        return distill.Embeddings.of_clip(clip)
