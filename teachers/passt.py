"""PaSST (Koutini et al. 2022, arXiv 2110.05069), written from the formulas of kkoutini/PaSST."""

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
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import PatchEmbedding, Transformer, flatten, frames_of

_PATCH = 16
_STRIDES = {12: 10, 10: 12, 9: 14, 8: 16}  # by rows of frequency; the file does not say it otherwise


class PaSST(Teacher):
    """PaSST from an official file: 32 kHz, overlapping 16 x 16 patches, 10 frames a second (stride 10).

    The clip embedding is the mean of the class and distillation tokens, a frame the mean of its column of patches;
    logits come from the AudioSet head. Patchout and the jitter of the front-end belong to training and are left out.

    Args:
        checkpoint: The file, such as passt-s-f128-p16-s10-ap.476-swa.pt.
        heads: Of attention; 0 is one for each 64 of width.
        windows: How longer clips are cut. With 0 seconds the beginning is used, as in the official repository.

    Raises:
        UserError: the file is no PaSST, or is damaged, or the windows are longer than it has positions for.
    """

    sample_rate = 32_000
    published = Published(85_748_495, 768, 768, 0.1)
    licence = "Apache-2.0"
    source = "passt-s-f128-p16-s10-ap.476-swa.pt, a release of github.com/kkoutini/PaSST: --teacher.checkpoint FILE"

    def __init__(self, checkpoint: str, heads: int = 0, windows: Windows = Windows()) -> None:
        super().__init__(windows)
        where = f"--teacher.checkpoint {checkpoint}"
        state = without_prefix(read_state_dict(checkpoint, "--teacher.checkpoint"), "time_new_pos_embed")
        if "time_new_pos_embed" not in state or "patch_embed.proj.weight" not in state:
            raise UserError(f"{where}: no PaSST, it has no 'time_new_pos_embed' (its first key: {next(iter(state))!r})")
        with all_keys(where):
            model = Network(state, heads)
        dropped = load_weights(model, state, where)
        self.mel = PasstMel()
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        columns = model.time_new_pos_embed.shape[3]
        self.limit_windows(((columns - 1) * model.stride + _PATCH + model.stride - 1) * 0.010)
        classes = len(state["head.1.weight"])
        names = list(audioset.classes()) if classes == 527 else [str(column) for column in range(classes)]
        self.labels, self._columns = audioset.in_mid_order(names)

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
        logits = model.head(clip)[:, self._columns.to(clip.device)]
        return Embeddings.of_frames(frames, times, mask, clip=clip)._replace(logits=logits)

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Normalised mel; a clip shorter than a patch is zero-padded to one. Shape (batch, 128, time)."""
        shortest = (_PATCH - 1) * self.mel.hop + 2
        waveform = F.pad(batch.waveform, (0, max(0, shortest - batch.waveform.shape[1])))
        return (self.mel(waveform) + 4.5) / 5.0


class Network(nn.Module):
    """Patches with positions in time and in frequency, two class tokens, transformer, head; under the official keys."""

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
        transformer = Transformer(state, heads)
        self.blocks, self.norm = transformer.blocks, transformer.norm
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, mel: Tensor) -> tuple[Tensor, int]:
        """(batch, bands, time) -> tokens (batch, 2 + rows * columns, dim) and the number of rows."""
        grid = self.patch_embed(mel)[..., : self.time_new_pos_embed.shape[3]]
        grid = grid + self.time_new_pos_embed[..., : grid.shape[3]] + self.freq_new_pos_embed
        classes = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        tokens = torch.cat([classes.expand(len(grid), -1, -1), flatten(grid)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens), grid.shape[2]
