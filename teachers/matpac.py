"""MATPAC and MATPAC++ (Quelennec et al. 2025), written from the formulas in their authors' package.

MATPAC++ is the teacher of S-SONDO (arXiv 2604.24933).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_state_dict, without_prefix
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError, require_one_of
from distill.teachers.layers import LATER_OPTIONS
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import PatchEmbedding, VisionTransformer, flatten

FREQUENCIES = ("concat", "mean")
_PATCH, _BANDS = 16, 80
_MEAN, _STD = -7.056, 4.193


class MATPAC(Teacher):
    """MATPAC from an official file: Slaney mel, 16 x 16 patches, 6.25 frames a second.

    The spectrogram is encoded in pieces of 6.08 s (9.92 s for files fine-tuned on AudioSet), independently of each
    other. A frame embedding is the concatenation of the 5 patches of its column (3840). The clip embedding is the mean
    over time, as in S-SONDO. A file fine-tuned on AudioSet gives logits; the official code gives their softmax.

    Args:
        checkpoint: The file, such as matpac_plus_6s_2048_enconly.pt.
        frequency: How the 5 patches of a column become one vector: "concat" (3840) or "mean" (768).
        heads: Number of attention heads. 0 means one for each 64 of width.
        windows: How longer clips are cut.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or not a MATPAC encoder.
    """

    later_options = LATER_OPTIONS
    sample_rate = 16_000
    published = Published(85_400_832, 3840, 3840, 0.16)
    licence = "none stated: the authors' repository has no licence file, so all rights are reserved"
    source = "matpac_plus_6s_2048_enconly.pt, a release of the authors' GitHub repository: --teacher.checkpoint FILE"

    def __init__(
        self,
        checkpoint: str,
        frequency: str = "concat",
        heads: int = 0,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        require_one_of("--teacher.frequency", frequency, FREQUENCIES)
        self.frequency = frequency
        where = f"--teacher.checkpoint {checkpoint}"
        state = without_prefix(
            read_state_dict(checkpoint, "--teacher.checkpoint"), "student_encoder.norm.weight", where
        )
        for key in ("student_encoder.norm.weight", "patch_embed.proj.weight", "cls_token", "pos_embed"):
            if key not in state:
                raise UserError(
                    f"{where}: is not a MATPAC encoder: {key!r} is missing (the first key is {next(iter(state))!r})"
                )
        with all_keys(where):
            model = MATPACNetwork(state, heads)
        dropped = load_weights(model, state, where, ignore=["head_norm.num_batches_tracked"])
        self.mel = LogMel(
            self.sample_rate, window=400, hop=160, bands=_BANDS, low=50.0, high=8_000.0, offset=1.1920929e-07
        )
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        if self.take_layers(model.student_encoder.blocks, model.student_encoder, layer, combine):
            model.head = None
        if model.head is not None and model.head.out_features == 527:
            self.labels = tuple(sorted(audioset.classes()))  # its columns have this order
        elif model.head is not None:
            self.labels = tuple(str(column) for column in range(model.head.out_features))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        return by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips of one length."""
        mel = (self.mel(batch.waveform) - _MEAN) / _STD
        mel = F.pad(mel, (0, -mel.shape[2] % _PATCH))
        columns = torch.cat([self.model(piece) for piece in mel.split(self.model.columns * _PATCH, dim=2)], dim=1)
        means = columns.mean(2)
        frames = columns.flatten(2) if self.frequency == "concat" else means
        times = 0.0875 + 0.160 * torch.arange(frames.shape[1], device=frames.device)
        valid = (self.mel.frames(batch.lengths) // _PATCH).clamp(min=1)
        embeddings = Embeddings.of_frames(frames, times, frame_mask(valid, frames.shape[1]), clip=frames.mean(1))
        if self.model.head is None:
            return embeddings
        return embeddings._replace(logits=self.model.head(self.model.head_norm(means.mean(1))))


class MATPACNetwork(nn.Module):
    """Patches, class token, positions and transformer, under the official keys."""

    head: nn.Linear | None

    def __init__(self, state: Mapping[str, Tensor], heads: int) -> None:
        super().__init__()
        dim = state["cls_token"].shape[2]
        self.rows = _BANDS // _PATCH
        self.columns = (state["pos_embed"].shape[1] - 1) // self.rows
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(state["pos_embed"].shape))
        self.patch_embed = PatchEmbedding(dim, (_PATCH, _PATCH), (_PATCH, _PATCH))
        stem = "student_encoder."
        blocks = {key.removeprefix(stem): tensor for key, tensor in state.items() if key.startswith(stem)}
        self.student_encoder = VisionTransformer(blocks, heads)
        self.head = nn.Linear(dim, len(state["head.weight"])) if "head.weight" in state else None
        if self.head is not None:
            self.head_norm = nn.BatchNorm1d(dim, affine=False)

    def forward(self, mel: Tensor) -> Tensor:
        """Encode one piece: (batch, bands, time) -> (batch, columns, rows, dim)."""
        grid = self.patch_embed(mel)
        columns = grid.shape[3]
        positions = self.pos_embed[:, 1:].unflatten(1, (self.rows, -1))[:, :, :columns].flatten(1, 2)
        tokens = flatten(grid) + positions
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = self.student_encoder(torch.cat([first, tokens], dim=1))[:, 1:]
        return tokens.unflatten(1, (self.rows, columns)).transpose(1, 2)
