"""The whole of HEAR: acoustic model, gated power spectrogram, task model and head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import (
    load_weights,
    provenance,
    read_state_dict,
    split_part,
    without_wrappers,
)
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.students.hear.acoustic import HEAR_SIZES, AcousticModel, AcousticSizes
from distill.students.hear.frontend import MEL_RATE, HearFrontEnd
from distill.students.hear.official import (
    CONV,
    acoustic_sizes,
    from_official_acoustic,
    submodule_state,
    to_official_acoustic,
    unused_keys,
)
from distill.students.hear.students import FIRST_TOKEN, TOKEN_HOP
from distill.students.saved import licence_of
from distill.students.student import Student

# Official prefixes of the parts after the acoustic model, and ours.
_PREFIXES = {"spectrogram_mixture.": "mixture.", "task_model.": "task.", "decoder.": "head."}


class HearClassifier(Student):
    """The whole of HEAR: 15.1 M parameters with 50 classes, and a frame every 20 ms.

    A clip is the mean, the maximum and the standard deviation of the frames of the task model.

    Args:
        classes: Number of classes. 0: `distill fit` takes it from labelled data.
        acoustic: Trained `hear` to start from: a run folder, a student folder or an official file. Its sizes replace
            those given. None means random weights.
        hidden: Width of the acoustic model.
        intermediate: Width of the feed-forward parts of the acoustic model.
        heads: Number of attention heads of the acoustic model.
        layers: Number of blocks of the acoustic model.
        window: Number of tokens of 20 ms in an attention window of the acoustic model.
        overlap: Number of tokens that two windows share; at most half of a window.
        task_hidden: Width of the task model.
        task_intermediate: Width of the feed-forward part of the task model.
        task_heads: Number of attention heads of the task model.
        positions: Number of positions of the task model, in tokens. Longer clips are cut into windows of this length.
            1500 are 30 s.
        head_hidden: Width of the head.
        head_dropout: Dropout rate before the last layer of the head.
        dropout: Dropout rate in the acoustic model and in the task model.
        rate: Sample rate of the power spectrogram, in Hz; 44100 in the official ESC-50 model.
        points: Size of the Fourier transform of the power spectrogram, in samples. 0 means 1024, or 2048 for a rate
            above 40 kHz.
        checkpoint: Official file of the whole of HEAR to start from. Its sizes replace those given. None means no file.
        official: Whether to standardise over the padded row, as the published code does.

    Raises:
        UserError: the number of classes is not known, the sizes do not fit each other, or a file does not fit.
    """

    takes_classes = True
    initial_weights = (*Student.initial_weights, "acoustic")

    def __init__(
        self,
        classes: int = 0,
        acoustic: str | None = None,
        hidden: int = HEAR_SIZES.hidden,
        intermediate: int = HEAR_SIZES.intermediate,
        heads: int = HEAR_SIZES.heads,
        layers: int = HEAR_SIZES.layers,
        window: int = HEAR_SIZES.window,
        overlap: int = 50,
        task_hidden: int = 384,
        task_intermediate: int = 1536,
        task_heads: int = 4,
        positions: int = 1500,
        head_hidden: int = 384,
        head_dropout: float = 0.1,
        dropout: float = 0.1,
        rate: int = MEL_RATE,
        points: int = 0,
        checkpoint: str | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        sizes = AcousticSizes(hidden, intermediate, heads, layers, window)
        task_sizes: dict[str, Any] = {
            "classes": classes, "task_hidden": task_hidden, "task_intermediate": task_intermediate,
            "positions": positions, "head_hidden": head_hidden, "rate": rate, "points": points,
        }  # fmt: skip
        state: dict[str, Tensor] | None = None
        source = checkpoint or acoustic
        where = f"--student.{'checkpoint' if checkpoint else 'acoustic'} {source}"
        if source is not None:
            state, file = _read_initial_weights(source, where)
            sizes = acoustic_sizes(submodule_state(state, ("acoustic_model.",), CONV, where))
        if state is not None and checkpoint is not None:
            task_sizes |= _task_sizes(state, rate, where)
        task_sizes["points"] = _check_task_sizes(task_sizes)
        self.sizes = sizes._asdict() | task_sizes
        self.sample_rate, positions = task_sizes["rate"], task_sizes["positions"]
        self.windows = Windows(seconds=positions * TOKEN_HOP)
        self.front_end = HearFrontEnd(self.sample_rate, task_sizes["points"], official)
        one_window = positions <= sizes.window
        self.acoustic = AcousticModel(sizes, overlap, dropout, one_window)
        width = task_sizes["task_hidden"]
        self.mixture = SpectrogramMixture(sizes.hidden, width, self.front_end.frequencies)
        self.task = TaskModel(width, task_sizes["task_intermediate"], task_heads, positions, dropout)
        self.head = ClassificationHead(width, task_sizes["head_hidden"], task_sizes["classes"], head_dropout)
        if state is not None:
            used = self._load(state, whole=checkpoint is not None, where=where)
            if source is not None and split_part(source)[0].is_file():
                self.provenance = provenance(source, unused_keys(file, used))
            if source is not None and (folder := _student_folder(source)) is not None:
                self.licence = licence_of(folder)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode and classify a batch of audio at `sample_rate`."""
        spectra = self.front_end(batch.waveform, batch.lengths, power=True)
        features = self.acoustic.features(spectra.mel)
        lengths = (spectra.frames // 2).clamp(max=features.shape[1])
        host_lengths = None
        if not torch.compiler.is_exporting():
            host_lengths = (self.front_end.frames(batch.host_lengths) // 2).clamp(max=features.shape[1])
        encoded = self.mixture(self.acoustic(features, lengths, host_lengths), spectra.power)
        frames = self.task(encoded, lengths, host_lengths)
        valid = frame_mask(lengths, frames.shape[1])
        times = FIRST_TOKEN + TOKEN_HOP * torch.arange(frames.shape[1], device=frames.device)
        clip = pool_statistics(frames, valid)
        return Embeddings.of_frames(frames, times, valid, clip=clip)._replace(logits=self.head(clip))

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights and the buffers of the front-end by the published keys."""
        acoustic = to_official_acoustic(self.acoustic.state_dict())
        official = {f"preprocessor.{key}": tensor for key, tensor in self.front_end.official_state().items()}
        official |= {f"acoustic_model.{key}": tensor for key, tensor in acoustic.items()}
        for theirs, ours in _PREFIXES.items():
            part = getattr(self, ours.rstrip("."))
            official |= {theirs + key: tensor for key, tensor in part.state_dict().items()}
        return official

    def _load(self, state: Mapping[str, Tensor], whole: bool, where: str) -> dict[str, Tensor]:
        """Load the weights of the acoustic model, or of all parts. Return the used tensors by official key."""
        parts: dict[str, nn.Module] = {"acoustic_model.": self.acoustic}
        if whole:
            parts |= {theirs: getattr(self, ours.rstrip(".")) for theirs, ours in _PREFIXES.items()}
        for prefix, part in parts.items():
            own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            load_weights(part, from_official_acoustic(own) if part is self.acoustic else own, where)
        return {key: tensor for key, tensor in state.items() if key.startswith(tuple(parts))}


class SpectrogramMixture(nn.Module):
    """Adds the power spectrogram to the tokens, through a gate computed from the tokens."""

    def __init__(self, hidden: int, out: int, frequencies: int) -> None:
        super().__init__()
        self.gate_linear = nn.Linear(hidden, hidden)
        self.spectrum_linear = nn.Linear(2 * frequencies, hidden)
        self.layer_norm = nn.LayerNorm(hidden)
        self.mixture = nn.Linear(2 * hidden, out)

    def forward(self, tokens: Tensor, power: Tensor) -> Tensor:
        """Mix tokens (batch, time, hidden) and power (batch, frequencies, frames) into (batch, time, out)."""
        time = tokens.shape[1]
        power = power[:, :, : 2 * time].to(self.spectrum_linear.weight.dtype)
        pairs = power.unflatten(2, (time, 2)).permute(0, 2, 1, 3).flatten(2)
        gate = self.gate_linear(tokens).sigmoid()
        spectrum = F.gelu(self.layer_norm(self.spectrum_linear(pairs) * gate))
        return self.mixture(torch.cat([tokens, spectrum], dim=2))


class TaskModel(nn.Module):
    """Learned positions, and one post-norm transformer layer over the whole clip."""

    def __init__(self, dim: int, intermediate: int, heads: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, dim))
        self.transformer = nn.TransformerEncoderLayer(dim, heads, intermediate, dropout, batch_first=True)

    def forward(self, tokens: Tensor, lengths: Tensor, host_lengths: Tensor | None = None) -> Tensor:
        """Encode tokens (batch, time, dim) with valid `lengths` (batch,), also on the CPU. Same shape out."""
        valid = frame_mask(lengths, tokens.shape[1])
        known = lengths if host_lengths is None else host_lengths
        # torch's softmax with a mask takes three times as long; an exported graph cannot check for padding.
        is_padded = torch.compiler.is_exporting() or bool((known < tokens.shape[1]).any())
        padding = ~valid if is_padded else None
        return self.transformer(tokens + self.pos_embed[:, : tokens.shape[1]], src_key_padding_mask=padding)


class ClassificationHead(nn.Module):
    """The classifier of pooled frames: linear, batch norm, ReLU, dropout, linear."""

    def __init__(self, dim: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * dim, hidden)
        self.batch_norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """Classify pooled frames (batch, 3 * dim). Return logits (batch, classes)."""
        return self.out(self.dropout(self.batch_norm(self.linear(pooled)).relu()))


def pool_statistics(frames: Tensor, valid: Tensor) -> Tensor:
    """Return the mean, the maximum and the unbiased standard deviation of the valid frames.

    Args:
        frames: Frames. Shape (batch, time, dim).
        valid: True where a frame is valid. Shape (batch, time), bool.

    Returns:
        Shape (batch, 3 * dim).
    """
    exact = frames.to(torch.promote_types(frames.dtype, torch.float32))  # whose range holds a sum of squares
    weights = valid.unsqueeze(2).to(exact.dtype)
    count = weights.sum(1)
    mean = masked_mean(exact, valid)
    highest = exact.masked_fill(~valid.unsqueeze(2), -torch.inf).amax(1)
    squares = ((exact - mean.unsqueeze(1)) * weights).square().sum(1)
    deviation = (squares / (count - 1).clamp(min=1e-5) + 1e-8).sqrt()
    return torch.cat([mean, highest, deviation], dim=1).to(frames.dtype)


def _student_folder(source: str) -> Path | None:
    """Return the student folder of a run, or the folder itself if it is one. None: the source is a file."""
    path = Path(source).expanduser()
    return next((folder for folder in (path / "student", path) if (folder / "model.safetensors").is_file()), None)


def _read_initial_weights(source: str, where: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read a file or a student folder. Return its tensors by official keys, and as they are in the file.

    In the first, the keys of the acoustic model have the prefix `acoustic_model.`. Raises UserError.
    """
    folder = _student_folder(source)
    if folder is not None:
        state = read_state_dict(folder / "model.safetensors", where.partition(" ")[0])
        ours = {key.removeprefix("acoustic."): tensor for key, tensor in state.items() if key.startswith("acoustic.")}
        if "conv.weight" not in ours:
            raise UserError(f"{where}: its student is not a `hear`")
        return {f"acoustic_model.{key}": tensor for key, tensor in to_official_acoustic(ours).items()}, state
    state = without_wrappers(read_state_dict(source, where.partition(" ")[0]), where)
    if f"acoustic_model.{CONV}" in state:
        return state, state
    acoustic = submodule_state(state, ("encoder.", ""), CONV, where)
    return {f"acoustic_model.{key}": tensor for key, tensor in acoustic.items()}, state


def _task_sizes(state: Mapping[str, Tensor], rate: int, where: str) -> dict[str, Any]:
    """Return the sizes of the parts after the acoustic model, from the shapes of their official tensors."""
    if "task_model.pos_embed" not in state:
        raise UserError(
            f"{where}: not the whole of HEAR, since it has no 'task_model.pos_embed'; use --student.acoustic"
        )
    frequencies = state["spectrogram_mixture.spectrum_linear.weight"].shape[1] // 2
    points = 2 * (frequencies - 1)
    return {
        "classes": len(state["decoder.out.weight"]),
        "task_hidden": state["task_model.pos_embed"].shape[2],
        "task_intermediate": len(state["task_model.transformer.linear1.weight"]),
        "positions": state["task_model.pos_embed"].shape[1],
        "head_hidden": len(state["decoder.linear.weight"]),
        "points": points,
        "rate": 44_100 if points == 2048 and rate == MEL_RATE else rate,  # only this size shows the rate of the file
    }


def _check_task_sizes(sizes: Mapping[str, Any]) -> int:
    """Return the size of the Fourier transform. Raise UserError if it, or the number of classes, is too small."""
    if sizes["classes"] < 1:
        raise UserError("--student.classes: must be at least 1 (`distill fit` takes it from labelled data)")
    window = int(0.025 * sizes["rate"])
    points: int = sizes["points"] or (1024 if sizes["rate"] <= 40_000 else 2048)
    if points < window:
        raise UserError(f"--student.points {points}: must be at least a window, {window}")
    return points
