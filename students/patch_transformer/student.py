"""The spectrogram-patch transformer of EAT and CAT, and of MATPAC by other arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, remove_mean
from distill.data.audio.kaldi import KaldiFbank
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError, require_one_of
from distill.students.patch_transformer.blocks import EPSILON, PostNormBlock, PreNormBlock, positions
from distill.students.patch_transformer.official import load_official, sizes_of
from distill.students.patch_transformer.patches import PATCH, MultiResolution, PatchConvolution
from distill.students.student import Student

BLOCKS = {"post": PostNormBlock, "pre": PreNormBlock}
POOLINGS = ("first", "mean")
_EAT = (-4.268, 2 * 4.569)  # AudioSet's mean, and twice its deviation
_MATPAC = (-7.056, 4.193)


class Encoded(NamedTuple):
    """What the blocks make of tokens. Shapes (B, 1 + N, D): the first token stands for the whole clip.

    Args:
        tokens: After the last block.
        branches: Output of each block's feed-forward part, before it is added.
    """

    tokens: Tensor
    branches: tuple[Tensor, ...]


class PatchTransformer(Student):
    """Patches of 16 x 16 of a log-mel spectrogram through a transformer: 85.3 M parameters at EAT's size.

    A frame every 160 ms is the mean over a column's patches, the clip the first token (or the mean of its frames).
    Pre-train it with the objective `utterance_frame` (EAT; with teachers CAT) or `latent_prediction` (MATPAC), or
    distil any teacher into it.

    Args:
        hidden: Width of a token; 768 in EAT, 192 is small, 96 tiny.
        layers: Number of blocks.
        heads: Of attention.
        ratio: Width of the feed-forward parts over `hidden`.
        norm: "post" (EAT, CAT) or "pre" (MATPAC).
        bands: 128: Kaldi's filter bank, normalised as in EAT; 80: Slaney's mel, as in MATPAC.
        resolutions: Sides of CAT's patches, such as 4, 8, 16, with convolutions between; none is one plain convolution.
        channels: Of each resolution but the last.
        pooling: Of a clip: the "first" token, or the "mean" of its frames.
        frames: Spectra that each clip is padded with zeros or cut to before it is normalised; 1024 in EAT on AudioSet.
            0 pads to the next whole patch, and hides the padding of shorter clips in a batch.
        mean: Subtracted from the spectrogram; none takes that of AudioSet.
        scale: What it is divided by; none takes that of AudioSet.
        drop_path: Chance that the last block is left out, in training; those before it less often, in a line.
        spec_augment: Largest share of the bands, and of the spectra, that is blanked in training (Park et al. 2019).
        classes: Of a head on the clip, for fine-tuning; 0 has none. `distill fit` takes it from labelled data.
        checkpoint: Official EAT or CAT file to start from (fairseq or Hugging Face); its sizes are used.

    Raises:
        UserError: sizes that do not fit each other, or a file that is no such encoder.
    """

    sample_rate = 16_000

    def __init__(
        self,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        ratio: float = 4.0,
        norm: str = "post",
        bands: int = 128,
        resolutions: Sequence[int] = (),
        channels: Sequence[int] = (256, 384),
        pooling: str = "first",
        frames: int = 0,
        mean: float | None = None,
        scale: float | None = None,
        drop_path: float = 0.0,
        spec_augment: float = 0.0,
        classes: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        require_one_of("--student.norm", norm, tuple(BLOCKS))
        require_one_of("--student.pooling", pooling, POOLINGS)
        sizes: dict[str, Any] = {"hidden": hidden, "layers": layers, "resolutions": tuple(resolutions)}
        if checkpoint is not None:
            sizes |= sizes_of(checkpoint)
            self.sizes = sizes
        width, sides = sizes["hidden"], sizes["resolutions"]
        if width % heads or width % 4:
            raise UserError(f"--student.hidden {width}: a multiple of --student.heads {heads} and of 4 is wanted")
        if bands not in (80, 128):
            raise UserError(f"--student.bands {bands}: 128 (EAT) or 80 (MATPAC) is wanted")
        if frames % PATCH or frames < 0:
            raise UserError(f"--student.frames {frames}: a multiple of the patch, {PATCH}, is wanted")
        mel = (
            KaldiFbank(bands)
            if bands == 128
            else LogMel(self.sample_rate, window=400, hop=160, bands=bands, low=50.0, high=8_000.0, offset=_TINY)
        )
        self.mel, self.rows, self.frames, self.pooling = mel, bands // PATCH, frames, pooling
        usual = _EAT if bands == 128 else _MATPAC
        if not 0 <= spec_augment < 1:
            raise UserError(f"--student.spec_augment {spec_augment}: a share from 0 to below 1 is wanted")
        self.spec_augment = spec_augment
        self.mean, self.scale = usual[0] if mean is None else mean, usual[1] if scale is None else scale
        self.patches = MultiResolution(width, sides, channels) if sides else PatchConvolution(width)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width, EPSILON) if norm == "post" else nn.Identity()
        drops = [drop_path * number / max(1, sizes["layers"] - 1) for number in range(sizes["layers"])]
        self.blocks = nn.ModuleList(BLOCKS[norm](width, heads, ratio, drop) for drop in drops)
        self.last_norm = nn.LayerNorm(width, EPSILON) if norm == "pre" else nn.Identity()
        self.blocks.apply(_initialise)
        self.head = _head(width, classes) if classes else None
        self._table = torch.zeros(0, 0)
        if checkpoint is not None:
            self.provenance = load_official(self, checkpoint)

    @property
    def width(self) -> int:
        """Numbers in a token."""
        return self.first.shape[2]

    def spectrogram(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Normalised spectra (B, T, bands), T a multiple of 16, and how many columns of patches hold sound (B,)."""
        batch = batch.resample(self.sample_rate)
        centred = remove_mean(batch.waveform, batch.lengths)
        mel = self.mel(centred) if isinstance(self.mel, KaldiFbank) else self.mel(centred).transpose(1, 2)
        valid = self.mel.frames(batch.lengths)
        mel = mel * frame_mask(valid, mel.shape[1]).unsqueeze(2)  # a clip alone is padded with zeros too
        # Not -(-n // 16): a graph's division of integers rounds towards 0.
        wanted = self.frames or (mel.shape[1] + PATCH - 1) // PATCH * PATCH
        mel = F.pad(mel, (0, 0, 0, max(0, wanted - mel.shape[1])))[:, :wanted]
        columns = valid.new_full((len(valid),), wanted // PATCH) if self.frames else (valid + PATCH - 1) // PATCH
        return (mel - self.mean) / self.scale, columns

    def embed_patches(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens with their positions (B, N, D); `visible` (B, columns, rows) where patches are hidden."""
        tokens = self.patches(spectrogram, visible)
        if torch.compiler.is_exporting():
            return tokens + positions(tokens.shape[1] // self.rows, self.rows, self.width, tokens.device)
        if self._table.shape[0] < tokens.shape[1] or self._table.device != tokens.device:
            self._table = positions(tokens.shape[1] // self.rows, self.rows, self.width, tokens.device)
        return tokens + self._table[: tokens.shape[1]]

    def contextual(self, tokens: Tensor, inside: Tensor | None = None) -> Encoded:
        """Tokens (B, N, D), all or some of a clip, in their context; `inside` (B, N) is False at padding."""
        x = self.norm(torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1))
        if inside is not None:
            inside = F.pad(inside, (1, 0), value=True)
        branches = []
        for block in self.blocks:
            x, made = block(x, inside)
            branches.append(made)
        return Encoded(self.last_norm(x), tuple(branches))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        spectrogram, columns = self.spectrogram(batch)
        if self.training and self.spec_augment:
            spectrogram = blanked(spectrogram, self.spec_augment)
        tokens = self.embed_patches(spectrogram)
        held = frame_mask(columns, spectrogram.shape[1] // PATCH)
        # A graph cannot branch on values, and takes clips whole.
        whole = torch.compiler.is_exporting() or bool(held.all())
        inside = None if whole else held.repeat_interleave(self.rows, 1)
        encoded = self.contextual(tokens, inside).tokens
        frames = encoded[:, 1:].unflatten(1, (-1, self.rows)).mean(2)
        hop = 160 / self.sample_rate
        times = 0.0125 + hop * (PATCH * torch.arange(frames.shape[1], device=frames.device) + (PATCH - 1) / 2)
        clip = encoded[:, 0] if self.pooling == "first" else None
        embeddings = Embeddings.of_frames(frames, times, held, clip=clip)
        return embeddings if self.head is None else embeddings._replace(logits=self.head(embeddings.clip))

    def height(self, parameter: str) -> int:
        """Blocks from the one that a parameter lies in to the last, that one included; 0 outside of blocks."""
        parts = parameter.split(".")
        return len(self.blocks) - int(parts[1]) if parts[0] == "blocks" else 0


def blanked(spectrogram: Tensor, share: float) -> Tensor:
    """With one run of bands and one of spectra set to 0 in each clip (B, T, F), each up to a share of them."""
    inside = torch.ones_like(spectrogram, dtype=torch.bool)
    for axis in (1, 2):
        size = spectrogram.shape[axis]
        width = torch.rand(len(spectrogram), 1, device=spectrogram.device) * share * size
        start = torch.rand(len(spectrogram), 1, device=spectrogram.device) * (size - width)
        place = torch.arange(size, device=spectrogram.device)
        kept = (place < start.floor()) | (place >= (start + width).floor())
        inside = inside & kept.unsqueeze(3 - axis)
    return spectrogram * inside


def _head(width: int, classes: int) -> nn.Sequential:
    last = nn.Linear(width, classes)
    nn.init.trunc_normal_(last.weight, std=0.02)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width, EPSILON), last)


_TINY = 1.1920929e-07  # float32's epsilon, MATPAC's offset of the logarithm


def _initialise(module: nn.Module) -> None:
    """BERT's: N(0, 0.02) for linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        nn.init.zeros_(module.bias)
