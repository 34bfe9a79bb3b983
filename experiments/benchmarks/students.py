"""Time students: against OpenVINO, without folded normalisation, by length, and with clips of unequal length."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from measure import Row, median, paired, table, write_section

import distill
from distill.data.batch import AudioBatch
from distill.runtimes.graph import graph_of
from distill.runtimes.openvino_file import write_openvino_file
from distill.students.student import Student

CONVOLUTIONAL = ("mobilenet_v3", "dymn", "cnn", "bc_resnet")
SECONDS, CLIPS = 10, 8
WITHIN = 1 / 1.2  # of OpenVINO's speed
MASKED = 1 / 1.3  # of the speed of clips of equal length
TRANSFORMER = {"hidden": 192, "layers": 6, "heads": 6}
TRAINED = {"cnn": {}, "mobilenet_v3": {}, "patch_transformer": TRANSFORMER, "hear": {}}


def created(name: str, **options: object) -> Student:
    torch.manual_seed(0)
    return distill.create_student(name, **options).eval()


def noise(student: Student, seconds: float, clips: int = 1) -> torch.Tensor:
    return torch.randn(clips, round(seconds * student.sample_rate)) * 0.1


def unfolded(function: Callable[[], object]) -> Callable[[], object]:
    def call() -> None:
        fixed = (patch(f"distill.students.{module}.may_fold", return_value=False) for module in ("layers", "dymn"))
        with next(fixed), next(fixed):
            function()

    return call


def inference(folder: Path) -> list[Row]:
    """Compare one clip in eager with layers that are not folded, and with OpenVINO if it is installed."""
    rows = []
    for name in CONVOLUTIONAL:
        student = created(name)
        clip, case = noise(student, SECONDS), f"`{name}`, one clip of {SECONDS} s"

        def ours(student: Student = student, clip: torch.Tensor = clip) -> object:
            return student.embed(clip, student.sample_rate)

        rows.append(row(case, ours, unfolded(ours), math.nan, "not folded"))
        if importlib.util.find_spec("openvino"):
            rows.append(row(case, ours, openvino_call(student, clip, folder / f"{name}.xml"), WITHIN, "OpenVINO"))
    return rows


def row(case: str, ours: Callable[[], object], rival: Callable[[], object], goal: float, name: str) -> Row:
    taken, theirs, ratio = paired(ours, rival)
    return Row(case, 1e3 * taken, 1e3 * theirs, goal, name, ratio, "ms")


def openvino_call(student: Student, clip: torch.Tensor, path: Path) -> Callable[[], object]:
    import openvino

    write_openvino_file(graph_of(student), path)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled, waveform = openvino.Core().compile_model(path, "CPU", settings), clip.numpy()
    return lambda: compiled({"waveform": waveform})


def length_row() -> Row:
    """Return the exponent of the time in the length, beyond the window of `patch_transformer`."""
    student = created("patch_transformer", **TRANSFORMER)

    def taken(seconds: float) -> float:
        clip = noise(student, seconds)
        return median(lambda: student.embed(clip, student.sample_rate))

    short, long = taken(30), taken(300)
    case = f"`patch_transformer` (192 wide, 6 layers), 30 s: {short:.2f} s, 300 s: {long:.2f} s; exponent"
    return Row(case, math.log10(long / short), None, 1.05, unit="")


def step_rows() -> list[Row]:
    """Compare a training step of clips of unequal length with one of equal length and the same seconds."""
    rows = []
    for name, options in TRAINED.items():
        student = created(name, **options).train()
        longest = min(SECONDS, student.longest_crop)
        for shortest, kind in ((longest / 5, f"{longest / 5:g}"), (0.9 * longest, f"{0.9 * longest:g}")):
            lengths = (torch.linspace(shortest, longest, CLIPS) * student.sample_rate).long()
            waveform = noise(student, longest, CLIPS)
            unequal = AudioBatch.of(waveform, student.sample_rate, lengths)
            equal = AudioBatch.of(waveform[:, : int(lengths.float().mean())], student.sample_rate)
            case = f"step of `{name}`, {CLIPS} clips of {kind} to {longest:g} s"
            rows.append(row(case, step(student, unequal), step(student, equal), MASKED, "equal lengths"))
    return rows


def step(student: Student, batch: AudioBatch) -> Callable[[], object]:
    def call() -> None:
        student.zero_grad()
        student(batch).clip.square().sum().backward()

    return call


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = inference(Path(folder))
    write_section("Students", table([*rows, length_row(), *step_rows()]), "students")
