"""BEATs (Chen et al. 2023, arXiv 2212.09058), written from the formulas of microsoft/unilm `beats/`."""

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
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import flatten, frames_of

_PATCH = 16  # fbank frames and mel bands
_ROWS = 8  # patches of one step of time, low frequencies first
_MEAN, _STD = 15.41663, 6.55582
_SHORTEST = (_PATCH - 1) * KaldiFbank.hop + KaldiFbank.window_samples  # samples of one patch
MASKS = ("exact", "official")


class BEATs(Teacher):
    """BEATs from an official file, pretrained or fine-tuned: Kaldi fbank, 16 x 16 patches, 6.25 frames a second.

    A frame is the mean of the 8 patches of its 160 ms; a clip embedding is the mean over the valid patches. A
    fine-tuned file gives logits too. The OneDrive links of the official page are dead.

    Args:
        checkpoint: The file, such as BEATs_iter3_plus_AS2M.pt; OpenBEATs' and ESPnet's files of the same network too.
        mask: Which patches of a padded clip count: "exact" gives what the clip alone gives; "official" counts as the
            published code does, which lets parts of the padding in.
        windows: How longer clips are cut; attention costs the square of a window's length.

    Raises:
        UserError: the file is not a BEATs model (its tokenizers are refused), or is damaged.
    """

    sample_rate = 16_000
    published = Published(90_311_664, 768, 768, 0.16)
    licence = "MIT"
    source = (
        "BEATs_iter3_plus_AS2M.pt: the official OneDrive links are dead (microsoft/unilm#1671); unofficial copies lie "
        "on the hub, such as alibabasglab/beats: compare the sha256 on the page of the file with the one that is "
        "printed: --teacher.checkpoint FILE"
    )

    def __init__(self, checkpoint: str, mask: str = "exact", windows: Windows = Windows()) -> None:
        super().__init__(windows)
        require_one_of("--teacher.mask", mask, MASKS)
        self.mask = mask
        where = f"--teacher.checkpoint {checkpoint}"
        state, extras = read_checkpoint(checkpoint, "--teacher.checkpoint")
        state = without_prefix(state, "patch_embedding.weight")
        _check(state, extras.get("cfg") or {}, where)
        max_distance = (extras.get("cfg") or {}).get("max_distance", 800)
        with all_keys(where):
            state = _folded(state)
            model = Network(state, max_distance)
        self.shaped_by = {"max_distance": max_distance}
        dropped = load_weights(model, state, where)
        self.fbank = KaldiFbank(128, "povey", full_scale=2.0**15, mean=_MEAN, scale=2 * _STD)
        self.model = model
        self.provenance = provenance(checkpoint, dropped)
        if model.predictor is not None:
            names = extras.get("label_dict") or {}
            columns = range(model.predictor.out_features)
            labels = [str(names.get(column, names.get(str(column), column))) for column in columns]
            self.labels, self._columns = in_mid_order(labels)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        tokens = self.model.tokens(self.spectrogram(batch))
        columns = tokens.shape[1] // _ROWS
        valid = (self.fbank.frames(batch.lengths) // _PATCH).clamp(min=1)
        inside = frame_mask(valid, columns).repeat_interleave(_ROWS, dim=1)
        if self.mask == "official" and batch.waveform.shape[1] >= _SHORTEST:  # whose arithmetic knows no shorter clip
            inside = official_token_mask(batch, self.fbank.frames(torch.tensor(batch.waveform.shape[1])))
        features = self.model(tokens, inside)
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
        """Normalised fbank; a clip shorter than a patch is zero-padded to one. Shape (batch, time, 128)."""
        short = _SHORTEST - batch.waveform.shape[1]
        return self.fbank(F.pad(batch.waveform, (0, short)) if short > 0 else batch.waveform)


def official_token_mask(batch: AudioBatch, frames: Tensor) -> Tensor:
    """Valid tokens (batch, tokens) by the published arithmetic (`forward_padding_mask`), which is late and ragged.

    It divides the samples into as many equal parts as there are frames, and the frames into as many as there are
    tokens, so that of the patches at the end of a clip only some rows of frequency are masked.
    """
    padded = ~frame_mask(batch.lengths, batch.waveform.shape[1])
    for parts in (int(frames), int(frames) // _PATCH * _ROWS):
        padded = wholly_padded(padded, parts)
    return ~padded


def wholly_padded(padded: Tensor, parts: int) -> Tensor:
    """Which of so many equal parts are padding throughout: (batch, n) -> (batch, parts), bool; a rest is left out."""
    whole = padded.shape[1] // parts * parts
    return padded[:, :whole].unflatten(1, (parts, -1)).all(2)


class Network(nn.Module):
    """Patch embedding, convolutional positions, post-norm blocks; sizes are those of the tensors.

    Args:
        state: Tensors by the official keys, with the weight norm folded.
        max_distance: Tokens beyond which all distances are one.
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
        self.encoder = Encoder(
            Positions(dim, kernel, dim // within),
            [Block(dim, heads, hidden, depth) for _ in range(depth)],
            nn.Embedding(buckets, heads),
            max_distance,
        )
        classes = state["predictor.weight"].shape[0] if "predictor.weight" in state else 0
        self.predictor = nn.Linear(dim, classes) if classes else None

    def tokens(self, spectrogram: Tensor) -> Tensor:
        """(batch, time, bands) -> (batch, tokens, dim), time-major: token = step * 8 + row."""
        patches = self.patch_embedding(spectrogram.unsqueeze(1))
        return self.post_extract_proj(self.layer_norm(flatten(patches)))

    def forward(self, tokens: Tensor, inside: Tensor) -> Tensor:
        """Features of tokens (batch, tokens, dim), of which only those `inside` (batch, tokens) are heard."""
        return self.encoder(tokens, inside)


class Encoder(nn.Module):
    """Positions from a convolution, then blocks that share one table of relative positions."""

    def __init__(self, positions: Positions, layers: list[Block], table: nn.Embedding, max_distance: int) -> None:
        super().__init__()
        self.pos_conv = nn.ModuleList([positions])
        self.layer_norm = nn.LayerNorm(positions.in_channels)
        self.layers = nn.ModuleList(layers)
        self.relative_attention_bias = table
        self.max_distance = max_distance

    def forward(self, tokens: Tensor, inside: Tensor) -> Tensor:
        """Features of tokens (batch, tokens, dim), of which only those `inside` (batch, tokens) are heard."""
        tokens = tokens * inside.unsqueeze(2)
        tokens = self.layer_norm(tokens + F.gelu(self.pos_conv[0](tokens)))
        bias = self.bias(tokens.shape[1])
        unheard = None if bool(inside.all()) else ~inside[:, None, None, :]
        # One for all layers: to ask the system for so much memory again in each would cost more than to fill it.
        gated = bias.new_empty(len(tokens), *bias.shape)
        for layer in self.layers:
            tokens = layer(tokens, bias, unheard, gated)
        return tokens

    def bias(self, tokens: int) -> Tensor:
        """What the distance from query to key adds to a score, before the gate. Shape (heads, tokens, tokens)."""
        table = self.relative_attention_bias.weight
        place = torch.arange(tokens, device=table.device)
        buckets = relative_bucket(place - place.unsqueeze(1), len(table), self.max_distance)
        return table[buckets].permute(2, 0, 1).contiguous()  # each layer reads it in this order


class Block(nn.Module):
    """Post-norm block with DeepNorm's residual scale."""

    def __init__(self, dim: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.self_attn = GatedAttention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.alpha = (2 * depth) ** 0.25

    def forward(self, tokens: Tensor, bias: Tensor, unheard: Tensor | None, gated: Tensor) -> Tensor:
        """(batch, tokens, dim), same shape out; `bias` (heads, tokens, tokens)."""
        attended = self.self_attn(tokens, bias, unheard, gated)
        tokens = self.self_attn_layer_norm(torch.add(attended, tokens, alpha=self.alpha))
        hidden = torch.ops.aten.gelu_(self.fc1(tokens))  # in place: the largest tensor of the network
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

    def forward(self, tokens: Tensor, bias: Tensor, unheard: Tensor | None, gated: Tensor) -> Tensor:
        """(batch, tokens, dim), same shape out.

        Args:
            tokens: Shape (batch, tokens, dim).
            bias: Of each distance, before the gate. Shape (heads, tokens, tokens).
            unheard: Keys that are left out. Shape (batch, 1, 1, tokens).
            gated: Room for the gated bias. Shape (batch, heads, tokens, tokens).
        """
        query, key, value = self.qkv_proj(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        update, reset = self.grep_linear(query).unflatten(3, (2, 4)).sum(4).sigmoid().split(1, dim=3)
        torch.mul(update * (reset * self.grep_a - 1.0) + 2.0, bias, out=gated)
        if unheard is not None:
            gated.masked_fill_(unheard, -torch.inf)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=gated.to(query.dtype))
        return self.out_proj(attended.transpose(1, 2).flatten(2))


def relative_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Bucket of key position minus query position, int64: one each when near, logarithmic when far, signs apart."""
    half = buckets // 2
    near = half // 2
    size = distance.abs()
    far = near + (size.clamp(min=1) / near).log() / math.log(max_distance / near) * (half - near)
    return half * (distance > 0) + torch.where(size < near, size, far.long().clamp(max=half - 1))


class Positions(nn.Conv1d):
    """Grouped convolution over time that makes positions of tokens; beyond the clip it hears zeros.

    Args:
        dim: Width of the tokens.
        kernel: Tokens that an output hears; even, with half of them before.
        groups: Of channels.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, dim), same shape out."""
        if tokens.device.type == "cpu" and self.weight.dtype == torch.float32 and not torch.compiler.is_compiling():
            # In float32 under autocast too: on a processor with AMX, narrow groups in bfloat16 came out as noise.
            with torch.autocast("cpu", enabled=False):
                return self.by_transform(tokens.float()).to(tokens.dtype)
        return super().forward(tokens.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2)

    def by_transform(self, tokens: Tensor) -> Tensor:
        """The same by overlapping Fourier transforms, for a CPU: a kernel of 128 is a thirtieth of the arithmetic."""
        (clips, length, dim), (kernel,) = tokens.shape, self.kernel_size
        points, within = 2 * kernel, dim // self.groups
        hop = points - kernel + 1  # outputs of a transform that no wrapped sum spoils
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
    """The state as the network computes: weight norm multiplied out, one bias table, one projection of the tokens."""
    folded, stem = dict(state), "encoder.pos_conv.0."
    for query in sorted(key for key in state if ".self_attn.q_proj." in key):
        parts = [query.replace("q_proj", f"{name}_proj") for name in "qkv"]
        folded[query.replace("q_proj", "qkv_proj")] = torch.cat([folded.pop(part) for part in parts])
    for names in (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")):
        if stem + names[0] in folded:
            gain, direction = (folded.pop(stem + name) for name in names)
            folded[stem + "weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    table = ".self_attn.relative_attention_bias.weight"
    shared = folded[f"encoder.layers.0{table}"]  # which files repeat under every layer, or have under the first alone
    folded = {key: tensor for key, tensor in folded.items() if not key.endswith(table)}
    return folded | {"encoder.relative_attention_bias.weight": shared}


def _check(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> None:
    """Refuse what is not a BEATs encoder of the published kind."""
    if any("quantize" in key for key in state) or "quant_n" in config:
        raise UserError(f"{where}: a BEATs tokenizer; the model is wanted, such as BEATs_iter3_plus_AS2M.pt")
    marks = (
        "patch_embedding.weight",
        "encoder.layers.0.self_attn.relative_attention_bias.weight",
        "encoder.layers.0.fc1.weight",
    )
    if missing := [key for key in marks if key not in state]:
        raise UserError(f"{where}: no BEATs model, it has no {missing[0]!r} (its first key: {next(iter(state))!r})")
    published = {"layer_norm_first": False, "deep_norm": True, "gru_rel_pos": True, "input_patch_size": _PATCH}
    if strange := {key: config[key] for key, value in published.items() if config.get(key, value) != value}:
        raise UserError(f"{where}: a BEATs with {strange}, which no published file has")
