"""A student of `distill export` in ONNX Runtime: embeddings, frames and logits without PyTorch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.parts import Part
from distill.data.audio.read import WHOLE_FILE, Span, blocks, sample_rate_of
from distill.data.audio.sinc import resample_samples, resampled_blocks
from distill.data.encoders.tiling import Covered, Tiling, Windows, cut_in_windows
from distill.data.errors import UserError, as_text, first_line
from distill.students.decisions import DEFAULT_THRESHOLD, ONE_OF
from distill.teachers.graph import GraphFacts

Samples = NDArray[np.float32]

_INPUT, _CLIP = "waveform", "clip"
_WHOLE_SECONDS = 120.0  # a longer clip is cut, as by the student in PyTorch
_WINDOW = Windows()  # how a student without windows cuts clips that are too long for it
_PIECE_SECONDS = 30.0


class ExportedEmbeddings(NamedTuple):
    """What an exported student returns for clips of one length.

    Args:
        clip: float32. Shape (batch, clip_dim).
        frames: float32. Shape (batch, time, frame_dim).
        frame_times: Centre of each frame, in seconds. Shape (time,).
        logits: Calibrated logits, float32; no classes without a classifier. Shape (batch, classes).
    """

    clip: Samples
    frames: Samples
    frame_times: NDArray[np.float64]
    logits: Samples


class ExportedWindow(NamedTuple):
    """One window of a recording.

    Args:
        start: Start, in seconds from the start of the recording.
        end: End, in seconds from the start of the recording.
        embeddings: Embeddings of the window, a batch of one. Its frame times count from `start`.
    """

    start: float
    end: float
    embeddings: ExportedEmbeddings


class ExportedStudent:
    """A student in an ONNX file of `distill export`. It needs NumPy, soundfile and onnxruntime, and no PyTorch.

    Audio is decoded, resampled and cut as by the student in PyTorch, so that the numbers are the same.

    Args:
        path: The file.

    Attributes:
        path: The file.
        sample_rate: Rate of its input, in Hz. `embed` resamples to it.
        labels: Label of each column of the logits.
        kind: "one of": a clip has exactly one class (softmax). "many": each class is a separate decision (sigmoid).
        thresholds: Probability from which on each class counts as present. Shape (classes,).
        crop_seconds: Length of the clips that the classifier was trained on. 0: whole clips.
        frequency_band: Lowest and highest frequency that the student covers, in Hz.
        longest_window: Longest input, in seconds.
        windows: How clips that are longer are cut.
        metadata: All that the file states, as text by name.

    Raises:
        UserError: onnxruntime is not installed, there is no such file, or `distill export` did not write it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._session = _open(self.path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        facts = GraphFacts.of(self.metadata, as_text(self.path))
        is_own = _CLIP in self._outputs and [port.name for port in self._session.get_inputs()] == [_INPUT]
        if facts.sample_rate is None or not is_own:
            raise UserError(
                f"{as_text(self.path)} is not a student with its front-end, as `distill export --out student.onnx` "
                "writes it; `--teacher onnx` takes other graphs"
            )
        self.sample_rate, self._facts = facts.sample_rate, facts
        self.labels, self.licence = facts.labels or (), facts.licence or "not stated"
        self.longest_window = facts.longest_seconds or math.inf
        self.windows = Windows(facts.window_seconds or 0.0)
        classifier = json.loads(self.metadata.get("classifier", "{}"))
        self.kind: str = classifier.get("kind", ONE_OF)
        stated = classifier.get("thresholds") or [DEFAULT_THRESHOLD] * len(self.labels)
        self.thresholds: NDArray[np.float64] = np.array(stated, np.float64)
        self.crop_seconds = float(classifier.get("crop_seconds", 10.0))
        low, high = json.loads(self.metadata.get("frequency_band", f"[0, {self.sample_rate / 2}]"))
        self.frequency_band = (float(low), float(high))

    def embed(self, waveform: NDArray[Any], sample_rate: int) -> ExportedEmbeddings:
        """Encode waveforms. Long ones are cut into windows, whose clip embeddings and logits are averaged.

        Args:
            waveform: Samples in [-1, 1]. Shape (samples,) or (batch, samples).
            sample_rate: In Hz.

        Raises:
            ValueError: the waveform has another shape, integers, no samples, or samples that are not finite.
        """
        clips = np.atleast_2d(waveform)
        if clips.ndim != 2 or clips.dtype.kind != "f" or not clips.size:
            raise ValueError(f"waveform {clips.dtype} {clips.shape}: must be floats of shape (batch, samples)")
        if not np.isfinite(clips).all():
            raise ValueError("the waveform has samples that are NaN or infinite")
        rows = [resample_samples(clip.astype(np.float32), sample_rate, self.sample_rate) for clip in clips]
        if self.fits(len(rows[0])):
            return self.encode(np.stack(rows))
        return _batched([self.embed_pieces([row]) for row in rows])

    def embed_file(self, path: str | os.PathLike[str]) -> ExportedEmbeddings:
        """Encode an audio file of any length, a batch of one. Raises AudioError if it cannot be read."""
        return self.embed_pieces(self.pieces_of(path))

    def windows_of(self, path: str | os.PathLike[str], windows: Windows | None = None) -> Iterator[ExportedWindow]:
        """Encode an audio file of any length window by window, in the memory of one window.

        Args:
            path: The file.
            windows: Length and hop of the windows. None: those of the student; without any, windows of 10 s.

        Yields:
            Start, end and embeddings of each window, in order.

        Raises:
            AudioError: the file cannot be read.
            ValueError: the windows have 0 seconds, or more than the student processes at once.
        """
        if windows is not None and not 0 < windows.seconds <= self.longest_window:
            raise ValueError(f"windows of {windows.seconds:g} s: must be above 0 and at most {self.longest_window:g} s")
        tiling, rate = self.tiling if windows is None else windows.tiling(self.covered), self.sample_rate
        for start, samples in cut_in_windows(self.pieces_of(path), tiling, rate):
            yield ExportedWindow(start / rate, (start + len(samples)) / rate, self.encode(samples[None]))

    def pieces_of(
        self, path: str | os.PathLike[str], span: Span = WHOLE_FILE, part: Part | None = None
    ) -> Iterator[Samples]:
        """Yield the samples of a part of a sound at the rate of the student, (samples,). Raises AudioError."""
        decoded = blocks(path, span, part, seconds=_PIECE_SECONDS)
        return resampled_blocks(decoded, sample_rate_of(path, part), self.sample_rate)

    def embed_pieces(self, pieces: Iterable[Samples]) -> ExportedEmbeddings:
        """Encode one clip that comes in pieces (samples,) at the rate of the student, a batch of one.

        The clip embedding and the logits of a long clip are the means over its windows, weighted by their lengths.
        """
        coming, held = iter(pieces), list[Samples]()
        for piece in coming:
            held.append(piece)
            if not self.fits(sum(map(len, held))):
                break
        else:
            return self.encode(np.concatenate(held)[None])
        tiling, rate = self.tiling, self.sample_rate
        starts, lengths, parts = list[float](), list[int](), list[ExportedEmbeddings]()
        for start, samples in cut_in_windows(chain(held, coming), tiling, rate):
            parts.append(self.encode(samples[None]))
            starts.append(start / rate)
            lengths.append(len(samples))
        return _joined(parts, starts, np.array(lengths), tiling)

    def fits(self, samples: int) -> bool:
        """Return whether a clip of some samples is encoded whole."""
        return samples <= min(self.longest_window, self.windows.seconds or _WHOLE_SECONDS) * self.sample_rate

    def encode(self, waveform: Samples) -> ExportedEmbeddings:
        """Encode clips (batch, samples) at the rate of the student, which are not longer than its longest window.

        Raises:
            UserError: ONNX Runtime cannot compute the graph.
        """
        shortest = round((self._facts.shortest_seconds or 0.0) * self.sample_rate)
        try:
            values = self._session.run(self._outputs, {_INPUT: waveform})
        except Exception as error:  # ONNX Runtime raises classes of its own, with no common base
            if waveform.shape[1] < shortest:  # most graphs compute even shorter clips than the file states
                return self.encode(np.pad(waveform, ((0, 0), (0, shortest - waveform.shape[1]))))
            raise UserError(f"{as_text(self.path)}: cannot be computed ({first_line(error)})") from error
        found = dict(zip(self._outputs, values, strict=True))
        hop, first = self._facts.frame_hop or 0.0, self._facts.first_frame
        middle = waveform.shape[1] / self.sample_rate / 2  # of the only frame of a student of whole clips
        times = (middle if first is None else first) + np.arange(found["frames"].shape[1]) * hop
        return ExportedEmbeddings(found[_CLIP], found["frames"], times, found["logits"])

    @property
    def tiling(self) -> Tiling:
        """How long clips are cut: by `windows`, or into windows of 10 s."""
        return (self.windows if self.windows.seconds else _WINDOW).tiling(self.covered)

    def covered(self, seconds: float) -> Covered:
        """Return the part of a window of `seconds` that its frames cover."""
        rate, hop = self.sample_rate, self._facts.frame_hop
        frames = self.encode(np.zeros((1, round(seconds * rate)), np.float32)).frames.shape[1]
        if frames < 2 or not hop or self._facts.first_frame is None:
            return Covered(0.0, seconds)
        start = self._facts.first_frame - hop / 2
        return Covered(start, start + round(frames * hop * rate) / rate)

    def cut_in(self, windows: Windows) -> None:
        """Set the windows."""
        self.windows = windows

    def introduction(self) -> str:
        """Return a description of the student, in one line."""
        facts, stated = self._facts, self.metadata
        frames = f"frame {stated.get('frame_dim')} every {facts.frame_hop:.3f} s" if facts.frame_hop else "no frames"
        name = stated.get("name", "unknown")
        return (
            f"student: {name}, {as_text(self.path)}, {self.sample_rate} Hz, clip {stated.get('clip_dim')}, {frames}, "
            "by ONNX Runtime"
        )


def _open(path: Path) -> Any:
    """Return a session of ONNX Runtime on the CPU. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{as_text(path)}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError("an exported student requires one more package: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are errors of no user
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, with no common base
        raise UserError(f"{as_text(path)}: ONNX Runtime cannot read it ({first_line(error)})") from error


def _batched(parts: list[ExportedEmbeddings]) -> ExportedEmbeddings:
    """Return the embeddings of clips of one length from those of each clip."""
    clip, frames, logits = (np.concatenate([part[field] for part in parts]) for field in (0, 1, 3))
    return ExportedEmbeddings(clip, frames, parts[0].frame_times, logits)


def _joined(
    parts: list[ExportedEmbeddings], starts: list[float], lengths: NDArray[np.int64], tiling: Tiling
) -> ExportedEmbeddings:
    """Return the embeddings of one clip from those of its windows. Each frame comes from the window that it belongs to.

    Args:
        parts: Embeddings of the windows, each a batch of one.
        starts: Start of each window, in seconds.
        lengths: Samples of each window. Shape (windows,).
        tiling: The windows.
    """
    kept = [
        ((part.frame_times >= tiling.begin) | (number == 0)) & (part.frame_times < tiling.end)
        for number, part in enumerate(parts)
    ]
    times = [start + part.frame_times[keep] for start, part, keep in zip(starts, parts, kept, strict=True)]
    frames = [part.frames[:, keep] for part, keep in zip(parts, kept, strict=True)]
    clip, logits = (
        np.average(np.concatenate(values), 0, lengths).astype(np.float32)[None]
        for values in ([part.clip for part in parts], [part.logits for part in parts])
    )
    return ExportedEmbeddings(clip, np.concatenate(frames, 1), np.concatenate(times), logits)
