"""Dasheng (Dinkel et al. 2024, arXiv 2406.06992), written from the formulas in the package dasheng."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask, pad_to
from distill.data.audio.mel import DecibelMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_checkpoint, without_prefix
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import PatchEmbedding, VisionTransformer, flatten, frames_of

_BANDS = 64
_RANGE = 120.0  # decibels below the loudest value of a clip
_HEADS = {1280: 16}  # by width, as no tensor stores it: 0.6B has 80 of width for each head, other models 64
_UNSUPPORTED = ("blocks.", "cls_token", "token_pos_embed")  # what would change the output if it was dropped


class Dasheng(Teacher):
    """Dasheng from an official file (base, 0.6B, 1.2B): 16 kHz, patches of 64 bands and 40 ms, 25 frames a second.

    A frame embedding is the token of its patch, or the mean of its column of patches. The clip embedding is their mean.
    Sizes are those of the file. As in the official code, spectra of more than 10.08 s are encoded in parts of this
    length. The official code limits the range of decibels by the loudest clip of a batch; here each clip has its own
    limit. A file that was fine-tuned on AudioSet also gives logits.

    Args:
        checkpoint: The file, such as dasheng_base.pt, or the model.safetensors of mispeech/dasheng-base.
        heads: Number of attention heads. 0 means as the file states; if it does not, as in the published models.
        windows: How longer clips are cut.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or of another model.
    """

    sample_rate = 16_000
    patch_bands = 64  # CED, which has the same keys, has patches of 16 bands
    published = Published(85_447_808, 768, 768, 0.04)
    licence = "Apache-2.0"
    source = (
        "dasheng_base.pt of zenodo.org/records/11511780, or model.safetensors of mispeech/dasheng-base on the hub: "
        "--teacher.checkpoint FILE"
    )

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
        file = read_checkpoint(checkpoint, "--teacher.checkpoint")
        state = without_prefix(file.state, "time_pos_embed", where)
        if "time_pos_embed" not in state:
            raise UserError(
                f"{where}: is not of {type(self).__name__}: 'time_pos_embed' is missing (the first key is "
                f"{next(iter(state))!r})"
            )
        state = {key.replace("init_bn.1.", "init_bn."): tensor for key, tensor in state.items()}
        with all_keys(where):
            model = DashengNetwork(state, heads or _stated_heads(file.extras))
        if model.patch[0] != self.patch_bands:
            raise UserError(
                f"{where}: its patches have {model.patch[0]} bands, those of {type(self).__name__} have "
                f"{self.patch_bands}; is it a file of Dasheng or CED?"
            )
        dropped = load_weights(model, state, where, ignore=["*.num_batches_tracked"])
        if lost := [key for key in dropped if key.startswith(_UNSUPPORTED)]:
            raise UserError(f"{where}: {lost[0]!r} is not part of {type(self).__name__}; is it another model?")
        self.mel = DecibelMel(_BANDS, 0.0, 8_000.0, slaney=False, points=512, hop=160, sample_rate=self.sample_rate)
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        if self.take_layers(model.blocks, model.norm, layer, combine):
            model.outputlayer = None
        if model.outputlayer is not None:
            self.labels, self._columns = audioset.columns_of(len(state["outputlayer.1.weight"]))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        return by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips of one length."""
        frames, width = self.model(self.spectrogram(batch.waveform).to(self.dtype)), self.model.patch[1]
        steps = frames.shape[1]
        valid = (self.mel.frames(batch.lengths) // width).clamp(min=1, max=steps)
        times = (width * torch.arange(steps, device=frames.device) + (width - 1) / 2) * 0.010
        embeddings = Embeddings.of_frames(frames, times, frame_mask(valid, steps), clip=frames.mean(1))
        if self.model.outputlayer is None:
            return embeddings
        logits = self.model.outputlayer(embeddings.clip)
        return embeddings._replace(logits=logits[:, self._columns.to(logits.device)])

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute the mel spectrogram in decibels of clips of one length, with at least the spectra of a patch.

        Returns:
            Shape (batch, 64, time), float32.
        """
        mel = self.mel(pad_to(waveform, (self.model.patch[1] - 1) * self.mel.hop))
        return mel.maximum(mel.amax((1, 2), keepdim=True) - _RANGE)


def _stated_heads(extras: Mapping[str, Any]) -> int:
    """Return the number of heads in the file's configuration. 0: there is none."""
    config = extras.get("config")
    return int(config.get("num_heads", 0)) if isinstance(config, Mapping) else 0


class DashengNetwork(nn.Module):
    """Norm of the bands, patches with positions in time and in frequency, transformer, perhaps a head.

    Keys are official, except that `init_bn.1` is `init_bn`.
    """

    outputlayer: nn.Sequential | None

    def __init__(self, state: Mapping[str, Tensor], heads: int = 0) -> None:
        super().__init__()
        dim, _, *patch = state["patch_embed.proj.weight"].shape
        self.patch = (patch[0], patch[1])
        self.init_bn = nn.BatchNorm2d(_BANDS)
        self.patch_embed = PatchEmbedding(dim, self.patch, self.patch)
        self.time_pos_embed = nn.Parameter(torch.zeros(state["time_pos_embed"].shape))
        self.freq_pos_embed = nn.Parameter(torch.zeros(state["freq_pos_embed"].shape))
        transformer = VisionTransformer(state, heads or _HEADS.get(dim, 0))
        self.blocks, self.norm = transformer.blocks, transformer.norm
        self.outputlayer = None
        if "outputlayer.1.weight" in state:
            self.outputlayer = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, len(state["outputlayer.1.weight"])))

    def forward(self, mel: Tensor) -> Tensor:
        """Encode (batch, 64, time) into frames (batch, columns of patches, dim)."""
        grid = self.patch_embed(self.init_bn(mel.unsqueeze(3)).squeeze(3))
        parts = grid.split(self.time_pos_embed.shape[3], dim=3)
        return torch.cat([self._encode(part) for part in parts], dim=1)

    def _encode(self, grid: Tensor) -> Tensor:
        """Encode a grid (batch, dim, rows, columns) of at most the trained columns into (batch, columns, dim)."""
        tokens = flatten(grid + self.time_pos_embed[..., : grid.shape[3]] + self.freq_pos_embed)
        for block in self.blocks:
            tokens = block(tokens)
        return frames_of(self.norm(tokens), grid.shape[2])
