"""The sounds and layouts of the local tasks, without the kits."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from distill.adapters.hear import HearModel
from experiments.kits import run


def test_the_two_classes_differ_in_pitch_and_the_splits_in_sounds() -> None:
    rows = list(run.clips("test"))
    assert [label for _, label, _ in rows] == [0, 1] * (run.CLIPS // 2)
    for _, label, samples in rows:
        peak = np.abs(np.fft.rfft(samples)).argmax()  # 1 s: the index is the frequency
        assert 0.8 <= peak / run.TONES[label] <= 1.2
    assert not np.array_equal(rows[0][2], next(run.clips("train"))[2])


def test_the_tasks_have_the_layouts_of_the_kits(tmp_path: Path) -> None:
    run.write_hear_tasks(tmp_path / "tasks")
    event = tmp_path / "tasks" / "tones-event"
    labels = json.loads((event / "valid.json").read_text())
    assert len(labels) == run.CLIPS
    assert {soundfile.info(event / "48000" / "valid" / name).samplerate for name in labels} == {48_000}
    run.write_xares_tars(tmp_path / "tones")
    with tarfile.open(tmp_path / "tones" / "train_00.tar") as tar:
        assert len(tar.getnames()) == 2 * run.CLIPS
    assert (tmp_path / "tones" / ".audio_tar_ready").exists()


def test_the_student_tells_the_classes_apart_and_has_the_rate_of_the_tasks() -> None:
    student = run.random_student()
    assert HearModel(student).sample_rate == run.RATE
    low, high, again = (samples for _, _, samples in list(run.clips("test"))[:3])
    found = student.embed(torch.from_numpy(np.stack([low, high, again])), run.RATE).clip
    near, far = (torch.nn.functional.cosine_similarity(found[0], found[row], dim=0) for row in (2, 1))
    assert float(near) > 0.95 > float(far)
    assert student.frame_hop < 0.05


def test_every_kit_has_a_command_of_this_python() -> None:
    assert all(command[0] == sys.executable for _, command in run.commands().values())
    assert {folder for folder, _ in run.commands().values()} == {*run.PACKAGES, ""}
