"""PaSST (Koutini et al. 2022, arXiv 2110.05069), written from the formulas in kkoutini/PaSST."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.audio.mel import PasstMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_state_dict, without_prefix
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError
from distill.teachers.layers import LATER_OPTIONS
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import PatchEmbedding, VisionTransformer, flatten, frames_of

_PATCH = 16
_STRIDES = {12: 10, 10: 12, 9: 14, 8: 16}  # by rows of frequency, because the file does not store the stride


class PaSST(Teacher):
    """PaSST from an official file: 32 kHz, overlapping 16 x 16 patches, 10 frames a second (stride 10).

    The clip embedding is the mean of the class and distillation tokens. A frame embedding is the mean of its column of
    patches. Logits come from the AudioSet head. Patchout and the jitter of the front-end are for training only and not
    used.

    Args:
        checkpoint: The file, such as passt-s-f128-p16-s10-ap.476-swa.pt.
        heads: Number of attention heads. 0 means one for each 64 of width.
        windows: How longer clips are cut. With 0 seconds only the beginning is used, as in the official code.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or not a PaSST, or the windows are longer than its positions.
    """

    later_options = LATER_OPTIONS
    sample_rate = 32_000
    published = Published(85_748_495, 768, 768, 0.1)
    licence = "Apache-2.0"
    source = "passt-s-f128-p16-s10-ap.476-swa.pt, a release of github.com/kkoutini/PaSST: --teacher.checkpoint FILE"

    def __init__(
        self,
        checkpoint: str,
        heads: int = 0,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        where = f"--teacher.checkpoint {checkpoint}"
        state = without_prefix(read_state_dict(checkpoint, "--teacher.checkpoint"), "time_new_pos_embed", where)
        if "time_new_pos_embed" not in state or "patch_embed.proj.weight" not in state:
            raise UserError(
                f"{where}: is not a PaSST: 'time_new_pos_embed' is missing (the first key is {next(iter(state))!r})"
            )
        with all_keys(where):
            model = PaSSTNetwork(state, heads)
        dropped = load_weights(model, state, where)
        self.mel = PasstMel()
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        columns = model.time_new_pos_embed.shape[3]
        self.limit_windows(((columns - 1) * model.stride + _PATCH + model.stride - 1) * 0.010)
        if self.take_layers(model.blocks, model.norm, layer, combine):
            model.head = None
            return
        self.labels, self._columns = audioset.columns_of(len(state["head.1.weight"]))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 32 kHz."""
        return by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips of one length."""
        model, stride = self.model, self.model.stride
        tokens, rows = model(self.spectrogram(batch))
        clip = tokens[:, :2].mean(1)
        frames = frames_of(tokens[:, 2:], rows)
        valid = (self.mel.frames(batch.lengths) - _PATCH) // stride + 1
        times = (stride * torch.arange(frames.shape[1], device=frames.device) + (_PATCH - 1) / 2) * 0.010
        mask = frame_mask(valid.clamp(min=1, max=frames.shape[1]), frames.shape[1])
        embeddings = Embeddings.of_frames(frames, times, mask, clip=clip)
        if model.head is None:
            return embeddings
        return embeddings._replace(logits=model.head(clip)[:, self._columns.to(clip.device)])

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Return normalised mel. A clip shorter than a patch is zero-padded. Shape (batch, 128, time)."""
        shortest = (_PATCH - 1) * self.mel.hop + 2
        waveform = F.pad(batch.waveform, (0, max(0, shortest - batch.waveform.shape[1])))
        return (self.mel(waveform) + 4.5) / 5.0


class PaSSTNetwork(nn.Module):
    """Patches with positions in time and in frequency, two class tokens, transformer and head, by the official keys."""

    head: nn.Sequential | None

    def __init__(self, state: Mapping[str, Tensor], heads: int) -> None:
        super().__init__()
        dim, rows = state["freq_new_pos_embed"].shape[1:3]
        self.stride = _STRIDES.get(rows, 10)
        classes = len(state["head.1.weight"])
        self.cls_token, self.dist_token = (nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(2))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, dim))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, dim, rows, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(state["time_new_pos_embed"].shape))
        self.patch_embed = PatchEmbedding(dim, (_PATCH, _PATCH), (self.stride, self.stride))
        transformer = VisionTransformer(state, heads)
        self.blocks, self.norm = transformer.blocks, transformer.norm
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, mel: Tensor) -> tuple[Tensor, int]:
        """Encode (batch, bands, time) into tokens (batch, 2 + rows * columns, dim); return the number of rows too."""
        grid = self.patch_embed(mel)[..., : self.time_new_pos_embed.shape[3]]
        grid = grid + self.time_new_pos_embed[..., : grid.shape[3]] + self.freq_new_pos_embed
        classes = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        tokens = torch.cat([classes.expand(len(grid), -1, -1), flatten(grid)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens), grid.shape[2]
