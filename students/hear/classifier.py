"""HEAR whole: acoustic model, power spectrogram let in by a gate, task model, head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import load_weights, provenance, read_state_dict
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.students.hear.acoustic import AcousticModel
from distill.students.hear.frontend import MEL_RATE, HearFrontEnd
from distill.students.hear.official import (
    CONV,
    acoustic_sizes,
    from_official_acoustic,
    left_out,
    part_of,
    to_official_acoustic,
)
from distill.students.hear.students import FIRST_TOKEN, TOKEN_HOP
from distill.students.student import Student

# Official names of the parts, and ours.
_PARTS = {"spectrogram_mixture.": "mixture.", "task_model.": "task.", "decoder.": "head."}


class HearClassifier(Student):
    """HEAR whole: 15.1 M parameters with 50 classes; a clip is the mean, maximum and spread of the task model's frames.

    Args:
        classes: Number of classes; `distill fit` takes it from the data where it is 0.
        acoustic: Trained `hear` to start from: a run, a student folder, or an official file; its sizes are used.
        hidden: Width of the acoustic model.
        intermediate: Width of its feed-forward parts.
        heads: Of its attention.
        layers: Number of its blocks.
        window: Tokens of 20 ms that its attention sees at once.
        overlap: Tokens that two windows share.
        task_hidden: Width of the task model.
        task_intermediate: Width of its feed-forward part.
        task_heads: Of its attention.
        positions: Tokens that the task model has positions for; 1500 are 30 s, and longer clips are cut there.
        head_hidden: Width of the head.
        head_dropout: Before its last layer.
        dropout: In the acoustic and the task model.
        rate: Sample rate of the power spectrogram, in Hz; the official ESC-50 model has 44100.
        points: Samples of its transform; 0 is 1024, or 2048 where a window of 25 ms is longer than that.
        checkpoint: Official file of HEAR whole to start from; its sizes are used.
        official: Normalise over the padded row, as the published code does.

    Raises:
        UserError: a file that does not fit.
    """

    def __init__(
        self,
        classes: int = 0,
        acoustic: str | None = None,
        hidden: int = 384,
        intermediate: int = 1536,
        heads: int = 4,
        layers: int = 6,
        window: int = 300,
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
        sizes: dict[str, Any] = {
            "hidden": hidden, "intermediate": intermediate, "heads": heads, "layers": layers, "window": window,
        }  # fmt: skip
        rest: dict[str, Any] = {
            "classes": classes, "task_hidden": task_hidden, "task_intermediate": task_intermediate,
            "positions": positions, "head_hidden": head_hidden, "rate": rate, "points": points,
        }  # fmt: skip
        state: dict[str, Tensor] | None = None
        source = checkpoint or acoustic
        where = f"--student.{'checkpoint' if checkpoint else 'acoustic'} {source}"
        if source is not None:
            state, file = _read(source, where)
            sizes = acoustic_sizes(part_of(state, ("acoustic_model.",), CONV, where))
        if state is not None and checkpoint is not None:
            rest |= _sizes(state, rate, where)
        if rest["classes"] < 1:
            raise UserError("--student.classes: how many classes? (`distill fit` takes it from labelled data)")
        rest["points"] = rest["points"] or (1024 if rest["rate"] <= 40_000 else 2048)
        if rest["points"] < int(0.025 * rest["rate"]):
            raise UserError(
                f"--student.points {rest['points']}: at least a window, {int(0.025 * rest['rate'])}, is wanted"
            )
        self.sizes = sizes | rest
        self.sample_rate = rest["rate"]
        self.windows = Windows(seconds=rest["positions"] * TOKEN_HOP)
        self.front_end = HearFrontEnd(rest["rate"], rest["points"], official)
        one_window = rest["positions"] <= sizes["window"]
        self.acoustic = AcousticModel(**sizes, overlap=overlap, dropout=dropout, one_window=one_window)
        self.mixture = SpectrogramMixture(sizes["hidden"], rest["task_hidden"], self.front_end.frequencies)
        self.task = TaskModel(rest["task_hidden"], rest["task_intermediate"], task_heads, rest["positions"], dropout)
        self.head = Head(rest["task_hidden"], rest["head_hidden"], rest["classes"], head_dropout)
        if state is not None:
            used = self._load(state, whole=checkpoint is not None, where=where)
            if source is not None and Path(source).is_file():
                self.provenance = provenance(source, left_out(file, used))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed and classify a batch at the rate of the power spectrogram."""
        spectra = self.front_end(batch.waveform, batch.lengths, power=True)
        features = self.acoustic.features(spectra.mel)
        lengths = (spectra.frames // 2).clamp(max=features.shape[1])
        encoded = self.mixture(self.acoustic(features, lengths), spectra.power)
        frames = self.task(encoded, lengths)
        inside = frame_mask(lengths, frames.shape[1])
        times = FIRST_TOKEN + TOKEN_HOP * torch.arange(frames.shape[1], device=frames.device)
        clip = pool(frames, inside)
        return Embeddings.of_frames(frames, times, inside, clip=clip)._replace(logits=self.head(clip))

    def official_state(self) -> dict[str, Tensor]:
        """The weights by the published keys, without the buffers of the front-end."""
        acoustic = to_official_acoustic(self.acoustic.state_dict())
        official = {f"acoustic_model.{key}": tensor for key, tensor in acoustic.items()}
        for theirs, ours in _PARTS.items():
            part = getattr(self, ours.rstrip("."))
            official |= {theirs + key: tensor for key, tensor in part.state_dict().items()}
        return official

    def _load(self, state: Mapping[str, Tensor], whole: bool, where: str) -> dict[str, Tensor]:
        """Take the acoustic model's weights, or those of all parts; what was taken, by official key."""
        parts: dict[str, nn.Module] = {"acoustic_model.": self.acoustic}
        if whole:
            parts |= {theirs: getattr(self, ours.rstrip(".")) for theirs, ours in _PARTS.items()}
        for prefix, part in parts.items():
            own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            load_weights(part, from_official_acoustic(own) if part is self.acoustic else own, where)
        return {key: tensor for key, tensor in state.items() if key.startswith(tuple(parts))}


class SpectrogramMixture(nn.Module):
    """Lets the power spectrogram in, through a gate that the acoustic model opens."""

    def __init__(self, hidden: int, out: int, frequencies: int) -> None:
        super().__init__()
        self.gate_linear = nn.Linear(hidden, hidden)
        self.spectrum_linear = nn.Linear(2 * frequencies, hidden)
        self.layer_norm = nn.LayerNorm(hidden)
        self.mixture = nn.Linear(2 * hidden, out)

    def forward(self, tokens: Tensor, power: Tensor) -> Tensor:
        """Tokens (batch, time, hidden) and power (batch, frequencies, frames) -> (batch, time, out)."""
        time = tokens.shape[1]
        pairs = power[:, :, : 2 * time].unflatten(2, (time, 2)).permute(0, 2, 1, 3).flatten(2)
        gate = self.gate_linear(tokens).sigmoid()
        spectrum = F.gelu(self.layer_norm(self.spectrum_linear(pairs) * gate))
        return self.mixture(torch.cat([tokens, spectrum], dim=2))


class TaskModel(nn.Module):
    """Learned positions and one post-norm transformer layer over the whole clip."""

    def __init__(self, dim: int, intermediate: int, heads: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, dim))
        self.transformer = nn.TransformerEncoderLayer(dim, heads, intermediate, dropout, batch_first=True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, dim), same shape out."""
        inside = frame_mask(lengths, tokens.shape[1])
        # torch's softmax with a mask takes three times as long; a graph for any length cannot look.
        outside = ~inside if torch.compiler.is_exporting() or not bool(inside.all()) else None
        return self.transformer(tokens + self.pos_embed[:, : tokens.shape[1]], src_key_padding_mask=outside)


class Head(nn.Module):
    """Linear, batch norm, ReLU, dropout, Linear."""

    def __init__(self, dim: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * dim, hidden)
        self.batch_norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """(batch, 3 * dim) -> logits (batch, classes)."""
        return self.out(self.dropout(self.batch_norm(self.linear(pooled)).relu()))


def pool(frames: Tensor, inside: Tensor) -> Tensor:
    """Mean, maximum and unbiased standard deviation of the valid frames. (batch, time, dim) -> (batch, 3 * dim)."""
    weights = inside.unsqueeze(2).to(frames.dtype)
    count = weights.sum(1)
    mean = masked_mean(frames, inside)
    highest = frames.masked_fill(~inside.unsqueeze(2), -torch.inf).amax(1)
    squares = ((frames - mean.unsqueeze(1)) * weights).square().sum(1)
    return torch.cat([mean, highest, (squares / (count - 1).clamp(min=1e-5) + 1e-8).sqrt()], dim=1)


def _read(source: str, where: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Official keys of a file, the acoustic model's below `acoustic_model.`; and the file as it is."""
    path = Path(source)
    folders = [folder for folder in (path / "student", path) if (folder / "model.safetensors").is_file()]
    if folders:
        state = read_state_dict(folders[0] / "model.safetensors", where.partition(" ")[0])
        ours = {key.removeprefix("acoustic."): tensor for key, tensor in state.items() if key.startswith("acoustic.")}
        if "conv.weight" not in ours:
            raise UserError(f"{where}: the student in it is no `hear`")
        return {f"acoustic_model.{key}": tensor for key, tensor in to_official_acoustic(ours).items()}, state
    state = read_state_dict(path, where.partition(" ")[0])
    if f"acoustic_model.{CONV}" in state:
        return state, state
    acoustic = part_of(state, ("encoder.", ""), CONV, where)
    return {f"acoustic_model.{key}": tensor for key, tensor in acoustic.items()}, state


def _sizes(state: Mapping[str, Tensor], rate: int, where: str) -> dict[str, Any]:
    """Options of the parts behind the acoustic model, from the shapes of their official tensors."""
    if "task_model.pos_embed" not in state:
        raise UserError(f"{where}: not HEAR whole, it has no 'task_model.pos_embed'; --student.acoustic takes a part")
    frequencies = state["spectrogram_mixture.spectrum_linear.weight"].shape[1] // 2
    points = 2 * (frequencies - 1)
    return {
        "classes": len(state["decoder.out.weight"]),
        "task_hidden": state["task_model.pos_embed"].shape[2],
        "task_intermediate": len(state["task_model.transformer.linear1.weight"]),
        "positions": state["task_model.pos_embed"].shape[1],
        "head_hidden": len(state["decoder.linear.weight"]),
        "points": points,
        "rate": 44_100 if points == 2048 and rate == MEL_RATE else rate,  # the file says it by this size alone
    }
