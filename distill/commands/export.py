"""`distill export`: write a trained student as a file for another runtime, from waveform to embeddings."""

from __future__ import annotations

from pathlib import Path

from distill.adapters.hear import write_module
from distill.data.clips.sources import Data
from distill.data.errors import UserError, require_one_of
from distill.run.excerpts import read_excerpts
from distill.runtimes.formats import FORMATS, INSIDE, format_of, write_int8_student, write_student
from distill.runtimes.official import write_official
from distill.students.saved import load_student

_HEAR, _OFFICIAL = "hear", "official"  # formats that are no runtimes


def export(
    model: str = "", out: str = "", allow_import: str | None = None, space: str = "", format: str = "",
    seconds: float | None = None, int8: str = "", front_end: str = INSIDE,
) -> None:  # fmt: skip
    """Write a trained student for another runtime, for batches of clips of 0.1 s or longer.

    A student with windows cuts long clips (`hear_classifier`: 30 s). Its graph takes clips of at most one window.
    TensorFlow Lite (.tflite) and ExecuTorch (.pte) take one clip of a fixed length: `seconds`.

    The metadata of the file state the sample rate and more, so that `--teacher onnx` (.onnx), `--teacher exported`
    (.pt2) and `--teacher tflite` (.tflite) need no other option.

    The input is "waveform", float32 (batch, samples) in [-1, 1], at the student's sample rate. The outputs are "clip"
    (batch, clip_dim), "frames" (batch, time, frame_dim) and "logits" (batch, classes). A tokenizer has "tokens"
    (batch, time), int64, too.

    The file is compared with PyTorch on five lengths and two batches before it gets its name. The largest difference
    is printed, relative to the largest number of an output; it must be at most 1e-5.

    `int8` writes an ONNX file whose convolutions and matrix products have 8 bits. It is compared with float32 on clips
    that did not calibrate it; a difference above 5 % of the largest number of an output is refused.

    "hear" is no runtime: NAME.py is the module of one student that the HEAR kit takes, with the student beside it in
    NAME_student/. "official" are the weights by the keys of the code of HEAR, S-SONDO, EfficientAT or EAT, as a state
    dict of PyTorch. A student that starts from the file (`--student.checkpoint`) is compared with the written one.

    Args:
        model: Trained student: a run folder, a student folder or a hub id.
        out: File to write. Its name ends in ".onnx", ".xml" (openvino), ".pt2", ".safetensors", ".tflite" or ".pte";
            for hear in ".py", for official in ".pt" or ".pth".
        allow_import: Package from which the student's own class may be imported. None: no package.
        space: Name of a teacher of the student, in whose space "clip" lies. Empty: the student's own embedding.
        format: onnx, openvino, pt2, safetensors (weights without a graph), tflite, pte, hear or official. Empty: the
            end of `out` decides.
        seconds: Length of the clip that a .tflite or .pte file takes. None: 2 s.
        int8: Clips that calibrate an .onnx file in int8: a folder or a table, as for --data. 64 clips are used, and 32
            others for the comparison. Empty: float32.
        front_end: inside, or outside for .tflite and .pte: the graph takes a log-mel spectrogram (1, bands, time), and
            NAME_front_end.h beside it has the constants in C. For convolutional students.

    Raises:
        UserError: there is no such student, it does not answer in the space, packages are missing, the graph cannot be
            written, or its outputs differ from PyTorch's.
    """
    if not model or not out:
        raise UserError("--model RUN and --out FILE are required, such as --out student.onnx")
    if format:
        require_one_of("--format", format, [*FORMATS, _HEAR, _OFFICIAL])
    if format in (_HEAR, _OFFICIAL):
        print(_for_code(model, Path(out), allow_import, space, format))
        return
    if format_of(Path(out), format) != "onnx" and int8:  # before the student is loaded
        raise UserError(f"--out {out}: must end in .onnx, since --int8 writes ONNX files only")
    student = load_student(model, allow_import)
    if int8:
        clips = read_excerpts(Data.of(int8), student.sample_rate)
        print(write_int8_student(student, Path(out), *clips, space))
        return
    print(write_student(student, Path(out), space, format, seconds, front_end))


def _for_code(model: str, path: Path, allow_import: str | None, space: str, format: str) -> str:
    """Write a student for a kit or for the published code. Return what was written, as one line."""
    if space:
        raise UserError(f"--space {space}: --format {format} writes the student's own embedding; omit the option")
    if format == _HEAR:
        return write_module(path, model, allow_import)
    return write_official(load_student(model, allow_import), path)
