"""BEATs (Chen et al. 2023, arXiv 2212.09058), written from the formulas in microsoft/unilm `beats/`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.kaldi import KaldiFbank
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.audioset import in_mid_order
from distill.data.encoders.checkpoint import all_keys, load_weights, provenance, read_checkpoint, without_prefix
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError, require_one_of
from distill.teachers.layers import LATER_OPTIONS
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import flatten, frames_of

_PATCH = 16  # fbank frames and mel bands
_ROWS = 8  # patches in one step of time, low frequencies first
_MEAN, _STD = 15.41663, 6.55582
_SHORTEST = (_PATCH - 1) * KaldiFbank.hop + KaldiFbank.window_samples  # samples of one patch
MASKS = ("exact", "official")


class BEATs(Teacher):
    """BEATs from an official file, pretrained or fine-tuned: Kaldi fbank, 16 x 16 patches, 6.25 frames a second.

    A frame embedding is the mean of the 8 patches in its 160 ms. A clip embedding is the mean over the valid patches.
    A fine-tuned file gives logits too. The OneDrive links of the official page are dead.

    Args:
        checkpoint: The file, such as BEATs_iter3_plus_AS2M.pt. Files of OpenBEATs and ESPnet with the same network
            are read too.
        mask: Which patches of a padded clip are valid. "exact" gives the embedding of the clip alone. "official"
            follows the published code, which counts parts of the padding as valid.
        windows: How longer clips are cut. The cost of attention grows with the square of a window's length.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or not a BEATs model. BEATs tokenizers are refused too.
    """

    later_options = LATER_OPTIONS
    sample_rate = 16_000
    published = Published(90_311_664, 768, 768, 0.16)
    licence = "MIT"
    source = (
        "BEATs_iter3_plus_AS2M.pt: the official OneDrive links are dead (microsoft/unilm#1671); unofficial copies lie "
        "on the hub, such as alibabasglab/beats: compare the sha256 on the page of the file with the one that is "
        "printed: --teacher.checkpoint FILE"
    )

    def __init__(
        self,
        checkpoint: str,
        mask: str = "exact",
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        require_one_of("--teacher.mask", mask, MASKS)
        self.mask = mask
        where = f"--teacher.checkpoint {checkpoint}"
        state, extras = read_checkpoint(checkpoint, "--teacher.checkpoint")
        state = without_prefix(state, "patch_embedding.weight", where)
        config = extras["cfg"] if isinstance(extras.get("cfg"), Mapping) else {}
        _check(state, config, where)
        max_distance = config.get("max_distance", 800)
        with all_keys(where):
            state = _folded(state)
            model = BEATsNetwork(state, max_distance)
        self.shaped_by = {"max_distance": max_distance}
        dropped = load_weights(model, state, where)
        self.fbank = KaldiFbank(128, "povey", full_scale=2.0**15, mean=_MEAN, scale=2 * _STD)
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        if self.take_layers(model.encoder.layers, model.encoder, layer, combine):
            model.predictor = None
        if model.predictor is not None:
            names = extras.get("label_dict") or {}
            columns = range(model.predictor.out_features)
            labels = [str(names.get(column, names.get(str(column), column))) for column in columns]
            self.labels, self._columns = in_mid_order(labels)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        tokens = self.model.tokens(self.spectrogram(batch).to(self.dtype))
        columns = tokens.shape[1] // _ROWS
        valid = (self.fbank.frames(batch.lengths) // _PATCH).clamp(min=1)
        inside = frame_mask(valid, columns).repeat_interleave(_ROWS, dim=1)
        has_padding: bool | None = None
        if not torch.compiler.is_compiling():
            has_padding = bool(((self.fbank.frames(batch.host_lengths) // _PATCH).clamp(min=1) < columns).any())
        if (
            self.mask == "official" and batch.waveform.shape[1] >= _SHORTEST
        ):  # the published arithmetic fails for shorter clips
            inside = official_token_mask(batch, self.fbank.frames(torch.tensor(batch.waveform.shape[1])))
            has_padding = None
        features = self.model(tokens, inside, has_padding)
        frames = frames_of(features.unflatten(1, (columns, _ROWS)).transpose(1, 2).flatten(1, 2), _ROWS)
        times = 0.0875 + 0.160 * torch.arange(columns, device=frames.device)
        clip = masked_mean(features, inside)
        whole = inside.unflatten(1, (columns, _ROWS)).all(2)
        embeddings = Embeddings.of_frames(frames, times, whole, clip=clip)
        if self.model.predictor is None:
            return embeddings
        logits = masked_mean(self.model.predictor(features), inside)
        return embeddings._replace(logits=logits[:, self._columns.to(logits.device)])

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Return normalised fbank. A clip shorter than a patch is zero-padded. Shape (batch, time, 128)."""
        short = _SHORTEST - batch.waveform.shape[1]
        return self.fbank(F.pad(batch.waveform, (0, short)) if short > 0 else batch.waveform)


def official_token_mask(batch: AudioBatch, frames: Tensor) -> Tensor:
    """Return the mask of valid tokens by the published arithmetic (`forward_padding_mask`), bool (batch, tokens).

    It divides the samples into one equal part for each frame, and the frames into one equal part for each token. So
    the mask begins too late, and at the end of a clip it masks only some rows of frequency.

    Args:
        batch: Clips with their lengths.
        frames: Number of fbank frames of the whole batch, a scalar.
    """
    padded = ~frame_mask(batch.lengths, batch.waveform.shape[1])
    for parts in (int(frames), int(frames) // _PATCH * _ROWS):
        padded = wholly_padded(padded, parts)
    return ~padded


def wholly_padded(padded: Tensor, parts: int) -> Tensor:
    """Return which of `parts` equal parts are padding only: bool (batch, n) -> (batch, parts), remainder dropped."""
    whole = padded.shape[1] // parts * parts
    return padded[:, :whole].unflatten(1, (parts, -1)).all(2)


class BEATsNetwork(nn.Module):
    """Patch embedding, convolutional positions and post-norm blocks, with the sizes of the checkpoint's tensors.

    Args:
        state: Tensors by the official keys, with the weight norm folded.
        max_distance: Distance in tokens from which all distances share one bucket.
    """

    predictor: nn.Linear | None

    def __init__(self, state: Mapping[str, Tensor], max_distance: int) -> None:
        super().__init__()
        patch_dim = state["patch_embedding.weight"].shape[0]
        hidden, dim = state["encoder.layers.0.fc1.weight"].shape
        heads = state["encoder.layers.0.self_attn.grep_a"].shape[1]
        buckets = state["encoder.relative_attention_bias.weight"].shape[0]
        _, within, kernel = state["encoder.pos_conv.0.weight"].shape
        depth = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layers."))
        self.patch_embedding = nn.Conv2d(1, patch_dim, _PATCH, _PATCH, bias="patch_embedding.bias" in state)
        self.layer_norm = nn.LayerNorm(patch_dim)
        self.post_extract_proj = nn.Linear(patch_dim, dim) if "post_extract_proj.weight" in state else nn.Identity()
        self.encoder = BEATsEncoder(
            PositionConvolution(dim, kernel, dim // within),
            [BEATsBlock(dim, heads, hidden, depth) for _ in range(depth)],
            nn.Embedding(buckets, heads),
            max_distance,
        )
        classes = state["predictor.weight"].shape[0] if "predictor.weight" in state else 0
        self.predictor = nn.Linear(dim, classes) if classes else None

    def tokens(self, spectrogram: Tensor) -> Tensor:
        """Embed patches: (batch, time, bands) -> (batch, tokens, dim), time-major: token = step * 8 + row."""
        patches = self.patch_embedding(spectrogram.unsqueeze(1))
        return self.post_extract_proj(self.layer_norm(flatten(patches)))

    def forward(self, tokens: Tensor, inside: Tensor, has_padding: bool | None = None) -> Tensor:
        """Encode tokens (batch, tokens, dim), same shape out, with the arguments of `BEATsEncoder`."""
        return self.encoder(tokens, inside, has_padding)


class BEATsEncoder(nn.Module):
    """Positions from a convolution, then blocks that share one table of relative positions."""

    def __init__(
        self, positions: PositionConvolution, layers: list[BEATsBlock], table: nn.Embedding, max_distance: int
    ) -> None:
        super().__init__()
        self.pos_conv = nn.ModuleList([positions])
        self.layer_norm = nn.LayerNorm(positions.in_channels)
        self.layers = nn.ModuleList(layers)
        self.relative_attention_bias = table
        self.max_distance = max_distance

    def forward(self, tokens: Tensor, inside: Tensor, has_padding: bool | None = None) -> Tensor:
        """Encode tokens (batch, tokens, dim), same shape out. Only those `inside` (batch, tokens) are attended.

        `has_padding` says whether any is not inside. None: it is read from the device, which waits for it.
        """
        tokens = tokens * inside.unsqueeze(2)
        tokens = self.layer_norm(tokens + F.gelu(self.pos_conv[0](tokens)))
        bias = self.bias(tokens.shape[1])
        has_padding = not bool(inside.all()) if has_padding is None else has_padding
        masked = ~inside[:, None, None, :] if has_padding else None
        # One buffer for all layers, because allocating it in each layer costs more than filling it.
        gated = bias.new_empty(len(tokens), *bias.shape)
        for layer in self.layers:
            tokens = layer(tokens, bias, masked, gated)
        return tokens

    def bias(self, tokens: int) -> Tensor:
        """Return the relative position bias of attention scores, before the gate. Shape (heads, tokens, tokens)."""
        table = self.relative_attention_bias.weight
        place = torch.arange(tokens, device=table.device)
        buckets = relative_bucket(place - place.unsqueeze(1), len(table), self.max_distance)
        return table[buckets].permute(2, 0, 1).contiguous()  # in the order in which each layer reads it


class BEATsBlock(nn.Module):
    """Post-norm block with the residual scale of DeepNorm (Wang et al. 2022, arXiv 2203.00555)."""

    def __init__(self, dim: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.self_attn = GatedAttention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.alpha = (2 * depth) ** 0.25

    def forward(self, tokens: Tensor, bias: Tensor, masked: Tensor | None, gated: Tensor) -> Tensor:
        """Encode tokens (batch, tokens, dim), same shape out. The other arguments are those of `GatedAttention`."""
        attended = self.self_attn(tokens, bias, masked, gated)
        tokens = self.self_attn_layer_norm(torch.add(attended, tokens, alpha=self.alpha))
        hidden = torch.ops.aten.gelu_(self.fc1(tokens))  # in place, because it is the largest tensor
        return self.final_layer_norm(torch.add(self.fc2(hidden), tokens, alpha=self.alpha))


class GatedAttention(nn.Module):
    """Self-attention whose relative position bias is gated by the query (WavLM's gru_rel_pos)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        self.grep_linear = nn.Linear(dim // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def forward(self, tokens: Tensor, bias: Tensor, masked: Tensor | None, gated: Tensor) -> Tensor:
        """Attend from each token to the keys that are not masked. Shape (batch, tokens, dim).

        Args:
            tokens: Shape (batch, tokens, dim).
            bias: Relative position bias before the gate. Shape (heads, tokens, tokens).
            masked: Keys that are not attended, bool (batch, 1, 1, tokens). None masks none.
            gated: Buffer for the gated bias, overwritten. Shape (batch, heads, tokens, tokens).
        """
        query, key, value = self.qkv_proj(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        update, reset = self.grep_linear(query).unflatten(3, (2, 4)).sum(4).sigmoid().split(1, dim=3)
        torch.mul(update * (reset * self.grep_a - 1.0) + 2.0, bias, out=gated)
        if masked is not None:
            gated.masked_fill_(masked, -torch.inf)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=gated.to(query.dtype))
        return self.out_proj(attended.transpose(1, 2).flatten(2))


def relative_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of each distance, key position minus query position, int64.

    Each sign has half of the buckets. Short distances have a bucket each; long ones share buckets of logarithmic width.
    """
    half = buckets // 2
    near = half // 2
    size = distance.abs()
    far = near + (size.clamp(min=1) / near).log() / math.log(max_distance / near) * (half - near)
    return half * (distance > 0) + torch.where(size < near, size, far.long().clamp(max=half - 1))


class PositionConvolution(nn.Conv1d):
    """Positions of tokens by a grouped convolution over time, zero-padded at both ends.

    Args:
        dim: Width of the tokens.
        kernel: Width of the kernel in tokens, an even number; half of it lies before the output token.
        groups: Number of groups of channels.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return positions of tokens (batch, tokens, dim), same shape out."""
        if tokens.device.type == "cpu" and self.weight.dtype == torch.float32 and not torch.compiler.is_compiling():
            # In float32 under autocast too: on a processor with AMX, narrow groups in bfloat16 gave noise.
            with torch.autocast("cpu", enabled=False):
                return self.by_transform(tokens.float()).to(tokens.dtype)
        return super().forward(tokens.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2)

    def by_transform(self, tokens: Tensor) -> Tensor:
        """Compute the same by overlapping Fourier transforms: for a kernel of 128, a thirtieth of the arithmetic."""
        (clips, length, dim), (kernel,) = tokens.shape, self.kernel_size
        points, within = 2 * kernel, dim // self.groups
        hop = points - kernel + 1  # outputs of a transform without wrap-around
        blocks = -(-length // hop)
        padded = F.pad(tokens, (0, 0, kernel // 2, blocks * hop - length + kernel - 1 - kernel // 2))
        spectra = torch.fft.rfft(padded.unfold(1, points, hop))  # (clips, blocks, dim, frequencies)
        rows = spectra.view(clips * blocks, self.groups, within, -1).permute(3, 1, 0, 2)
        weights = torch.fft.rfft(self.weight.flip(2), points).view(self.groups, within, within, -1).permute(3, 0, 2, 1)
        products = rows @ weights  # (frequencies, groups, clips * blocks, within)
        outputs = torch.fft.irfft(products.permute(2, 1, 3, 0), points)[..., kernel - 1 :]
        assert self.bias is not None
        outputs = outputs.reshape(clips, blocks, dim, hop).transpose(2, 3).flatten(1, 2)
        return outputs[:, :length] + self.bias


def _folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with weight norm multiplied out, one bias table, and one projection for query, key and value."""
    folded, stem = dict(state), "encoder.pos_conv.0."
    for query in sorted(key for key in state if ".self_attn.q_proj." in key):
        parts = [query.replace("q_proj", f"{name}_proj") for name in "qkv"]
        folded[query.replace("q_proj", "qkv_proj")] = torch.cat([folded.pop(part) for part in parts])
    for names in (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")):
        if stem + names[0] in folded:
            gain, direction = (folded.pop(stem + name) for name in names)
            folded[stem + "weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    table = ".self_attn.relative_attention_bias.weight"
    shared = folded[f"encoder.layers.0{table}"]  # some files repeat it for each layer, others have it once
    folded = {key: tensor for key, tensor in folded.items() if not key.endswith(table)}
    return folded | {"encoder.relative_attention_bias.weight": shared}


def _check(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> None:
    """Raise UserError unless the file contains a BEATs encoder with the published settings."""
    if any("quantize" in key for key in state) or "quant_n" in config:
        raise UserError(f"{where}: is a BEATs tokenizer; must be the model, such as BEATs_iter3_plus_AS2M.pt")
    marks = (
        "patch_embedding.weight",
        "encoder.layers.0.self_attn.relative_attention_bias.weight",
        "encoder.layers.0.fc1.weight",
    )
    if missing := [key for key in marks if key not in state]:
        raise UserError(
            f"{where}: is not a BEATs model: {missing[0]!r} is missing (the first key is {next(iter(state))!r})"
        )
    published = {"layer_norm_first": False, "deep_norm": True, "gru_rel_pos": True, "input_patch_size": _PATCH}
    if strange := {key: config[key] for key, value in published.items() if config.get(key, value) != value}:
        raise UserError(f"{where}: a BEATs with {strange} is not supported; no published file has it")
