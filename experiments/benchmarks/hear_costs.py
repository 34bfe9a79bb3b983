"""Memory of HEAR's first stage, its cost against the length of a clip, and its ONNX file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from hear import literal, paired_cpu, step
from measure import ROOT, Row, cpu_seconds, peak_kib, table, write_section

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.packed import pack
from distill.objectives.tokenizer import TokenizerDistillation
from distill.runtimes.formats import write_student
from distill.students.hear.classifier import HearClassifier
from distill.students.hear.students import Hear, HearTokenizer
from distill.teachers.teacher import Teacher


class ConstantTeacher(Teacher):
    """Returns constant frames of 768 numbers every 20 ms, at no cost."""

    sample_rate = 16_000

    def encode(self, batch: AudioBatch) -> Embeddings:
        times = 0.0175 + 0.02 * torch.arange(batch.waveform.shape[1] // 320)
        frames = torch.ones(len(batch), len(times), 768)
        return Embeddings.of_frames(frames, times, torch.ones(frames.shape[:2], dtype=torch.bool))


def stage_one_memory(kind: str) -> None:
    """Print the memory that a step of stage 1 at batch 32 x 6 s adds at its peak, in GiB."""
    torch.manual_seed(0)
    objective = TokenizerDistillation(HearTokenizer(), {"constant": ConstantTeacher()}, alignment="index").train()
    if kind == "literal":
        objective = literal(objective)
    batch = AudioBatch.of(torch.randn(32, 96_000) * 0.1, 16_000)
    before = peak_kib()
    step(objective, batch)()
    print((peak_kib() - before) / 2**20)


def length(seconds: str) -> None:
    """Print CPU seconds and peak GiB of embedding one clip."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = Hear().eval()
    pack(student)
    waveform = torch.randn(round(float(seconds) * 16_000)) * 0.1
    student.embed(waveform[:16_000], 16_000)
    spent = cpu_seconds(lambda: student.embed(waveform, 16_000))
    print(spent, peak_kib() / 2**20)


def alone(*words: str) -> list[float]:
    """Return the numbers that this file prints in a process of its own."""
    ended = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, cwd=ROOT)
    return [float(word) for word in ended.stdout.split()]


def memory() -> Row:
    ours, theirs = alone("memory", "ours")[0], alone("memory", "literal")[0]
    case = "stage 1, peak memory of a step of 32 x 6 s"
    return Row(case, ours, theirs, 2.0, "literal transcription", unit="GiB")


def lengths() -> list[str]:
    measured = {seconds: alone("length", str(seconds)) for seconds in (1, 3, 10, 30, 60, 120, 300, 600)}
    slope = np.polyfit(np.log(list(measured)), np.log([spent for spent, _ in measured.values()]), 1)[0]
    costs = ", ".join(f"{seconds} s: {spent:.2f}" for seconds, (spent, _) in measured.items())
    peaks = ", ".join(f"{seconds} s: {measured[seconds][1]:.2f}" for seconds in (1, 60, 120, 300, 600))
    return [
        f"- `hear`, CPU seconds against length, one thread: {costs}. Exponent {slope:.3f} (goal: at most 1.05).",
        f"- Peak memory of the process, GiB: {peaks}.",
    ]


def onnx() -> str:
    import onnxruntime

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = HearClassifier(classes=50).eval()
    pack(model)
    waveform = torch.randn(1, 160_000) * 0.1
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
        write_student(model, Path(folder) / "hear.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(Path(folder) / "hear.onnx"), options)
    batch = AudioBatch.of(waveform, 16_000)
    with torch.inference_mode():
        theirs = session.run(["logits"], {"waveform": waveform.numpy()})[0]
        difference = float(np.abs(theirs - model(batch).logits.numpy()).max())
        runtime, eager, _ = paired_cpu(
            lambda: session.run(["logits"], {"waveform": waveform.numpy()}), lambda: model(batch), 7
        )
    torch.set_num_threads(2)
    return (
        f"- ONNX of `hear_classifier`, 10 s, one thread, CPU time: onnxruntime {runtime:.3f} s, eager {eager:.3f} s; "
        f"logits equal to {difference:.0e}."
    )


def main() -> None:
    write_section("Costs of HEAR", [*table([memory()]), "", onnx(), *lengths()], "hear_costs")


if __name__ == "__main__":
    {"memory": stage_one_memory, "length": length}[sys.argv[1]](sys.argv[2])
