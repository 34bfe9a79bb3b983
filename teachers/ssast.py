"""SSAST (Gong et al. 2022, arXiv 2110.09784), written from the formulas in YuanGongND/ssast."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.audio.kaldi import KaldiFbank
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_state_dict, without_prefix
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError, require_one_of
from distill.teachers.layers import LATER_OPTIONS
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import PatchEmbedding, VisionTransformer, flatten, frames_of

POOLINGS = ("mean", "class")
PADDINGS = ("before", "after")
KINDS = ("any", "frame", "patch")
_MEAN, _STD = -4.2677393, 4.5689974
_AST_PATCHES = 12 * 101  # of AST's published files, 10 bands and frames apart


class SSAST(Teacher):
    """SSAST from an official file: Kaldi fbank, and patches of 128 x 2 (frame models) or 16 x 16 (patch models).

    A frame model gives 50 frames a second, the targets of HEAR's tokenizer. A patch model gives 6.25, each the mean of
    its column of patches. The clip embedding is the mean over all patches, as in the paper. A fine-tuned file gives
    logits too.

    Args:
        checkpoint: The file, such as SSAST-Base-Frame-400.pth.
        kind: Accepted kind of file: "frame", "patch" or "any". HEAR needs "frame".
        frames: Length of the network's input in fbank frames. Shorter clips are zero-padded. The positions in the file
            are cut or interpolated to this length.
        stride: Distance of patches in time, in fbank frames. 0 means their width.
        frequency_stride: Distance of patches in frequency, in mel bands. 0 means their height.
        padding: Whether clips are padded "before" normalisation, as in training and in HEAR, or "after" it, as in
            SUPERB's expert.
        pooling: Clip embedding as the mean of the patches ("mean") or of the class tokens ("class"). Pretraining does
            not train the class tokens.
        heads: Number of attention heads. 0 means one for each 64 of width.
        windows: How longer clips are cut. With 0 seconds only the beginning is used.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or not an SSAST of that kind, or the windows are longer than `frames`.
    """

    later_options = LATER_OPTIONS
    sample_rate = 16_000
    published = Published(85_649_664, 768, 768, 0.02)
    licence = "BSD-3-Clause"
    source = "SSAST-Base-Frame-400.pth, by the Dropbox links in github.com/YuanGongND/ssast: --teacher.checkpoint FILE"

    def __init__(
        self,
        checkpoint: str,
        kind: str = "any",
        frames: int = 1024,
        stride: int = 0,
        frequency_stride: int = 0,
        padding: str = "before",
        pooling: str = "mean",
        heads: int = 0,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        require_one_of("--teacher.kind", kind, KINDS)
        require_one_of("--teacher.padding", padding, PADDINGS)
        require_one_of("--teacher.pooling", pooling, POOLINGS)
        where = f"--teacher.checkpoint {checkpoint}"
        state = _official(read_state_dict(checkpoint, "--teacher.checkpoint"), kind, where)
        self.frames, self.padding, self.pooling = frames, padding, pooling
        self.fbank = KaldiFbank(128, "hanning", mean=_MEAN, scale=2 * _STD)
        self.limit_windows(self.fbank.samples(frames) / self.sample_rate)
        with all_keys(where):
            model = SSASTNetwork(state, frames, (frequency_stride, stride), heads)
            positions = model.positions_of(state, where)
        dropped = load_weights(model, state | {"v.pos_embed": positions}, where)
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        if self.take_layers(model.v.blocks, model.v.norm, layer, combine):
            model.mlp_head = None
        if model.mlp_head is not None:
            self.labels, self._columns = audioset.columns_of(len(state["mlp_head.1.weight"]))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        model = self.model
        tokens = model(self.spectrogram(batch).transpose(1, 2))
        classes, tokens = tokens[:, : model.class_tokens], tokens[:, model.class_tokens :]
        clip = (tokens if self.pooling == "mean" else classes).mean(1)
        rows, columns = model.grid
        width, stride = model.patch[1], model.stride[1]
        valid = (self.fbank.frames(batch.lengths).clamp(max=self.frames) - width) // stride + 1
        times = (width - 1) / 2 * 0.010 + 0.0125 + torch.arange(columns, device=tokens.device) * stride * 0.010
        mask = frame_mask(valid.clamp(min=1), columns)
        embeddings = Embeddings.of_frames(frames_of(tokens, rows), times, mask, clip=clip)
        if model.mlp_head is None:
            return embeddings
        return embeddings._replace(logits=model.mlp_head(clip)[:, self._columns.to(clip.device)])

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Return normalised fbank of the network's fixed length. Shape (batch, frames, 128)."""
        return self.fbank.of_length(
            batch.waveform, batch.lengths, self.frames, normalised_zeros=self.padding == "before"
        )


class SSASTNetwork(nn.Module):
    """Patches, class tokens, positions fitted to the grid and transformer, under the official keys.

    Args:
        state: Tensors by the official keys.
        frames: Length of the input in fbank frames.
        stride: Distance of patches in frequency and in time. 0 means their size.
        heads: Number of attention heads. 0 means one for each 64 of width.
    """

    mlp_head: nn.Sequential | None

    def __init__(self, state: Mapping[str, Tensor], frames: int, stride: tuple[int, int], heads: int) -> None:
        super().__init__()
        weight = state["v.patch_embed.proj.weight"]
        dim, _, height, width = weight.shape
        self.patch = (height, width)
        self.stride = (stride[0] or height, stride[1] or width)
        self.grid = ((128 - height) // self.stride[0] + 1, (frames - width) // self.stride[1] + 1)
        self.class_tokens = 2 if "v.dist_token" in state else 1
        self.v = _TokenTransformer(state, PatchEmbedding(dim, self.patch, self.stride), heads)
        self.v.pos_embed = nn.Parameter(torch.zeros(1, self.class_tokens + self.grid[0] * self.grid[1], dim))
        self.mlp_head = None
        if "mlp_head.1.weight" in state:
            self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, len(state["mlp_head.1.weight"])))

    def positions_of(self, state: Mapping[str, Tensor], where: str) -> Tensor:
        """Return the file's positions, cut around their middle or interpolated to this grid. Shape (1, tokens, dim).

        Raises:
            UserError: a fine-tuned file, which does not store its grid, has another number of patches.
        """
        positions = state["v.pos_embed"]
        classes, patches = positions[:, : self.class_tokens], positions[:, self.class_tokens :]
        if "p_input_fdim" not in state and patches.shape[1] == _AST_PATCHES and self.grid[0] > 1:
            raise UserError(
                f"{where}: this seems to be AST's own file, whose head reads other tokens than SSAST's; "
                "use the model in transformers' form: --teacher ast --teacher.checkpoint MIT/ast-finetuned-..."
            )
        rows = int(state["p_input_fdim"]) // self.patch[0] if "p_input_fdim" in state else self.grid[0]
        if "p_input_fdim" not in state and rows > 1 and patches.shape[1] != math.prod(self.grid):
            raise UserError(
                f"{where}: has positions of {patches.shape[1]} patches, not of {self.grid[0]} x {self.grid[1]}; "
                "set --teacher.frames, .stride and .frequency_stride as the model was fine-tuned"
            )
        grid = patches.transpose(1, 2).unflatten(2, (rows, -1))  # (1, dim, rows, columns)
        height, width = self.grid
        if width < grid.shape[3]:
            first = grid.shape[3] // 2 - width // 2
            grid = grid[..., first : first + width]
        elif width > grid.shape[3]:
            grid = F.interpolate(grid, (grid.shape[2], width), mode="bilinear", align_corners=False)
        if height != grid.shape[2]:
            grid = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        return torch.cat([classes, flatten(grid)], dim=1)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Encode (batch, bands, time) into tokens (batch, class tokens + rows * columns, dim), row by row."""
        tokens = flatten(self.v.patch_embed(spectrogram))
        classes = [token.expand(len(tokens), -1, -1) for token in self.v.class_tokens()]
        return self.v(torch.cat([*classes, tokens], dim=1) + self.v.pos_embed)


class _TokenTransformer(VisionTransformer):
    """The transformer together with class tokens, positions and patches, because the official keys group them."""

    def __init__(self, state: Mapping[str, Tensor], patch_embed: PatchEmbedding, heads: int) -> None:
        super().__init__({key.removeprefix("v."): t for key, t in state.items() if key.startswith("v.")}, heads)
        self.patch_embed = patch_embed
        self.pos_embed = nn.Parameter(torch.zeros(state["v.pos_embed"].shape))
        self.cls_token = nn.Parameter(torch.zeros(state["v.cls_token"].shape))
        has_two = "v.dist_token" in state
        self.dist_token = nn.Parameter(torch.zeros(state["v.dist_token"].shape)) if has_two else None

    def class_tokens(self) -> list[Tensor]:
        """Return the one or two tokens that precede the patches. Shape (1, 1, dim) each."""
        return [self.cls_token] if self.dist_token is None else [self.cls_token, self.dist_token]


def _official(state: Mapping[str, Tensor], kind: str, where: str) -> dict[str, Tensor]:
    """Return the state by the official keys. Raise UserError if it is not an SSAST of that kind."""
    state = without_prefix(state, "v.patch_embed.proj.weight", where)
    for key in ("v.patch_embed.proj.weight", "v.pos_embed", "v.blocks.0.mlp.fc1.weight"):
        if key not in state:
            raise UserError(f"{where}: is not an SSAST: {key!r} is missing (the first key is {next(iter(state))!r})")
    height, width = state["v.patch_embed.proj.weight"].shape[2:]
    found = "frame" if height == 128 else "patch"
    if kind not in ("any", found):
        raise UserError(
            f"{where}: a {found} model (patches of {height} x {width}); must be a {kind} model, "
            f"such as SSAST-Base-{kind.title()}-400.pth"
        )
    return state
