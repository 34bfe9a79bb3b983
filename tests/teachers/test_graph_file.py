"""Files of graphs as teachers, by the example of ONNX files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import distill
from distill.cli.shell import main
from distill.data.batch import AudioBatch
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.run.identity import encoder_fingerprint
from distill.teachers.graph import GraphFacts
from distill.teachers.graph_file import levelled
from tests.teachers.onnx_files import DIM, FLOAT, HOP, RATE, WINDOW, build, expected_frames, save

INT64, BOOL = TensorProto.INT64, TensorProto.BOOL
STATED = {"sample_rate": str(RATE), "output": "clip", "frames": "frames", "logits": "logits"}


def create(folder: Path, model: onnx.ModelProto, **options: Any) -> distill.Teacher:
    return distill.create_teacher("onnx", checkpoint=save(folder, model), **options)


def noise(samples: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (("n",), "one by one"),
        ((1, "n"), "one by one"),
        ((3, "n"), "3 at a time"),
        (("b", "n"), "in batches"),
        (("b", 1, "n"), "in batches"),
        ((1, 1, "n"), "one by one"),
        (("b", 2 * RATE), "32000 samples, clips in batches"),
        ((1, 1, 2 * RATE), "32000 samples, clips one by one"),
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_embeddings(shape: tuple[int | str, ...], said: str, tmp_path: Path) -> None:
    teacher = create(tmp_path, build(shape, STATED))
    waveform = noise(2 * RATE, rows=4)
    found = teacher.embed(waveform, RATE)
    torch.testing.assert_close(found.frames, expected_frames(waveform), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.clip, expected_frames(waveform).mean(1), atol=1e-5, rtol=0)
    assert found.logits.shape == (4, 3)
    assert teacher.labels == ("0", "1", "2")
    assert said in teacher.reading


def test_an_input_of_unknown_shape_needs_a_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--teacher\.layout is required.*waveform float of unknown shape"):
        create(tmp_path, build(None, STATED))
    teacher = create(tmp_path, build(None, STATED), layout="batch,samples")
    assert teacher.embed(noise(RATE), RATE).clip.shape == (2, DIM)


@pytest.mark.parametrize("name", ["frames", "maps"])
def test_an_output_or_inner_tensor_of_frames_by_name(name: str, tmp_path: Path) -> None:
    """An inner tensor may have the time last."""
    teacher = create(tmp_path, build(outputs=["clip", "logits"]), sample_rate=RATE, output=name)
    waveform = noise(3 * RATE)
    found = teacher.embed(waveform, RATE)
    torch.testing.assert_close(found.frames, expected_frames(waveform), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.clip, expected_frames(waveform).mean(1), atol=1e-5, rtol=0)
    assert found.logits.shape == (2, 0)
    centres = (torch.arange(found.frames.shape[1]) * HOP + WINDOW / 2) / RATE
    torch.testing.assert_close(found.frame_times, centres, atol=HOP / 2 / RATE, rtol=0)
    assert teacher.frame_hop == pytest.approx(HOP / RATE, abs=1e-6)
    assert f"output {name} (frames of 6 numbers)" in teacher.reading


def test_clips_alone_have_no_frames(tmp_path: Path) -> None:
    teacher = create(tmp_path, build(metadata=STATED), output="clip")
    assert (teacher.frame_hop, teacher.clip_dim) == (0.0, DIM)
    assert "output clip (clips of 6 numbers), logits (clips of 3 numbers)" in teacher.reading


def test_a_fixed_length_is_the_window_and_shorter_clips_are_padded(tmp_path: Path) -> None:
    teacher = create(tmp_path, build(("b", 2 * RATE)), sample_rate=RATE, output="frames")
    assert teacher.windows == Windows(seconds=2.0)
    lengths = torch.tensor([2 * RATE, RATE // 2])
    waveform = noise(2 * RATE) * (torch.arange(2 * RATE) < lengths.unsqueeze(1))
    found = teacher.embed(waveform, RATE, lengths)
    steps = expected_frames(waveform).shape[1]
    assert found.frame_mask.sum(1).tolist() == [steps, int(0.5 / (2.0 / steps) + 0.1)]
    assert teacher.frame_hop == pytest.approx(2.0 / steps, abs=1e-6)
    alone = teacher.embed(waveform[1:, : RATE // 2], RATE)
    torch.testing.assert_close(found.clip[1], alone.clip[0])
    torch.testing.assert_close(found.clip[1], expected_frames(waveform)[1, found.frame_mask[1]].mean(0))
    long = noise(4 * RATE, rows=1)
    halves = [teacher.embed(half, RATE).clip for half in long.split(2 * RATE, dim=1)]
    torch.testing.assert_close(teacher.embed(long, RATE).clip, sum(halves) / 2, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"windows\.seconds 3: must be at most 2"):
        create(tmp_path, build(("b", 2 * RATE), STATED), windows=Windows(seconds=3.0))
    beginning = create(tmp_path, build(("b", 2 * RATE), STATED), windows=Windows(seconds=0))
    torch.testing.assert_close(beginning.embed(long, RATE).clip, beginning.embed(long[:, : 2 * RATE], RATE).clip)


def test_the_last_frame_that_a_clip_fills_is_valid(tmp_path: Path) -> None:
    teacher = create(tmp_path, build((1, 32_320)), sample_rate=RATE, output="frames")  # 100 frames of 323.2 samples
    for frames in (5, 35, 95):
        assert int(teacher.embed(noise(round(323.2 * frames), rows=1), RATE).frame_mask.sum()) == frames


def test_without_windows_the_level_is_that_of_the_beginning(tmp_path: Path) -> None:
    options = {"sample_rate": RATE, "output": "clip", "level": "standard", "windows": Windows(seconds=0)}
    teacher = create(tmp_path, build((1, 2 * RATE)), **options)
    long = noise(4 * RATE, rows=1) + 0.2
    torch.testing.assert_close(teacher.embed(long, RATE).clip, teacher.embed(long[:, : 2 * RATE], RATE).clip)


@pytest.mark.parametrize("name", ["frames", "maps"])
def test_time_is_found_in_a_window_of_fixed_length(name: str, tmp_path: Path) -> None:
    waveform = noise(2 * RATE)
    found = create(tmp_path, build((1, 2 * RATE)), sample_rate=RATE, output=name).embed(waveform, RATE)
    torch.testing.assert_close(found.frames, expected_frames(waveform), atol=1e-5, rtol=0)


def test_the_level_is_that_of_the_window(tmp_path: Path) -> None:
    waveform = noise(RATE)
    teacher = create(tmp_path, build(metadata=STATED | {"level": "peak=0.25"}))
    scaled = waveform * 0.25 / waveform.abs().amax(1, keepdim=True)
    torch.testing.assert_close(teacher.embed(waveform, RATE).frames, expected_frames(scaled), atol=1e-5, rtol=0)
    assert "level peak=0.25" in teacher.reading


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({"output": "clip"}, {}, r"--teacher\.sample_rate HZ is required.*1 input: waveform.*3 outputs: clip"),
        ({"sample_rate": "16000"}, {}, r"--teacher\.output NAME is required.*3 outputs: clip"),
        (STATED, {"output": "floating"}, r"'floating' of shape \(1, 16000\) and \(1, 160000\) must be"),
        (STATED, {"output": "nowhere"}, r"no tensor 'nowhere'"),
        (STATED, {"frames": "logits"}, r"--teacher\.frames logits: has no frames"),
        (STATED, {"output": "frames", "frames": "maps"}, r"--teacher\.frames maps: 'frames' has frames too"),
        (STATED, {"logits": "frames"}, r"--teacher\.logits frames: must have a row for each clip"),
        (STATED | {"labels": '["a"]'}, {}, r"1 labels for 3 class scores"),
    ],
)  # fmt: skip
def test_what_is_unknown_or_wrong_is_one_line(
    metadata: dict[str, str], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        create(tmp_path, build(metadata=metadata), **options)
    assert "\n" not in str(raised.value)


def test_the_only_output_and_one_named_embedding_need_no_option(tmp_path: Path) -> None:
    assert create(tmp_path, build(outputs=["maps"]), sample_rate=RATE).frame_dim == DIM
    named = [helper.make_node("Identity", ["clip"], ["embedding"])]
    teacher = create(tmp_path, build(outputs=["logits", "embedding"], extra=named), sample_rate=RATE)
    assert teacher.clip_dim == DIM


def test_a_graph_that_gives_nan_is_refused(tmp_path: Path) -> None:
    model = build(
        metadata={"sample_rate": "16000"}, outputs=["bad"], extra=[helper.make_node("Log", ["below"], ["bad"])]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 4), -1, np.float32), "below"))
    with pytest.raises(UserError, match="'bad' has NaN"):
        create(tmp_path, model)


def test_a_clip_that_the_graph_cannot_take_is_padded(tmp_path: Path) -> None:
    teacher = create(tmp_path, build(metadata=STATED))
    short = noise(100, rows=1)
    padded = torch.nn.functional.pad(short, (0, RATE // 10 - 100))
    found = teacher.embed(short, RATE)
    torch.testing.assert_close(found.clip, expected_frames(padded).mean(1), atol=1e-5, rtol=0)
    assert int(found.frame_mask.sum()) == 1


def test_a_dry_run_prints_what_was_understood(sounds: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, build((1, 1, 2 * RATE)))
    main(
        ["fit", "--teacher", "onnx", "--teacher.checkpoint", path, "--teacher.sample_rate", "16000", "--teacher.output",
         "clip", "--teacher.frames", "frames", "--teacher.windows.seconds", "1.5", "--student", "mobilenet_v3",
         "--student.width", "0.1", "--data", str(sounds(8)), "--out", str(tmp_path / "run"), "--dry_run"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert re.search(r"teacher: onnx, number of parameters unknown, 16000 Hz, clip 6, frame 6 every 0\.020 s", out)
    assert (
        "graph: input waveform float (1, 1, 32000), 32000 samples, clips one by one, level none; "
        "output clip (clips of 6 numbers), frames (99 frames of 6 numbers)"
    ) in out


def test_one_input_of_several_by_name(tmp_path: Path) -> None:
    """Another input of one number gets the sample rate if its name says so, otherwise 0."""
    rate, flag = (helper.make_tensor_value_info(*port) for port in (("sr", INT64, []), ("flag", BOOL, [1])))
    added = [
        helper.make_node("Cast", ["sr"], ["rate"], to=FLOAT), helper.make_node("Cast", ["flag"], ["zero"], to=FLOAT),
        helper.make_node("Mul", ["clip", "rate"], ["times_rate"]),
        helper.make_node("Add", ["times_rate", "zero"], ["sum"]),
    ]  # fmt: skip
    model = build(metadata=STATED, inputs=[rate, flag], extra=added)
    teacher = create(tmp_path, model, input="waveform", output="sum")
    waveform = noise(RATE)
    torch.testing.assert_close(teacher.embed(waveform, RATE).clip, expected_frames(waveform).mean(1) * RATE)
    assert "level none, sr = 16000, flag = False; output sum" in teacher.reading
    assert "input" not in encoder_fingerprint(create(tmp_path, build(metadata=STATED)))["options"]


def test_the_level_of_a_clip_does_not_depend_on_its_padding() -> None:
    waveform = torch.zeros(3, 1000)
    waveform[0] = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.3
    waveform[1, :300] = waveform[0, :300]
    batch = AudioBatch.of(waveform, 16_000, torch.tensor([1000, 300, 1000]))
    peak = levelled(batch, GraphFacts(level="peak=0.25"))
    torch.testing.assert_close(peak.abs().amax(1), torch.tensor([0.25, 0.25, 0.0]))
    standard = levelled(batch, GraphFacts(level="standard"))
    assert standard[1, 300:].abs().max() == 0
    for clip in (standard[0], standard[1, :300]):
        torch.testing.assert_close(torch.stack([clip.mean(), clip.std(correction=0)]), torch.tensor([0.0, 1.0]))
    assert standard[2].abs().max() == 0
    for level in (None, "none"):
        assert levelled(batch, GraphFacts(level=level)).equal(batch.waveform)
