"""The spectrogram-patch transformer of EAT and CAT, and with other arguments that of MATPAC."""

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
from distill.data.encoders.checkpoint import read_state_dict, without_wrappers
from distill.data.encoders.windows import Windows, by_similar_length
from distill.data.errors import UserError, require_one_of
from distill.students.patch_transformer.blocks import EPSILON, PostNormBlock, PreNormBlock, positions
from distill.students.patch_transformer.official import OfficialEncoder, official_encoder, official_key
from distill.students.patch_transformer.patches import MultiResolution, PatchConvolution
from distill.students.student import Student

BLOCKS = {"post": PostNormBlock, "pre": PreNormBlock}
POOLINGS = ("first", "mean")
# Mean and scale of AudioSet's spectrograms. EAT divides by twice the standard deviation.
_EAT = (-4.268, 2 * 4.569)
_MATPAC = (-7.056, 4.193)
_LOG_OFFSET = 1.1920929e-07  # float32's epsilon, as in MATPAC


class Encoded(NamedTuple):
    """Output of the blocks. The first token represents the whole clip.

    Args:
        tokens: Tokens after the last block. Shape (B, 1 + N, D).
        branches: Output of each block's feed-forward part, before it is added. Shape of each (B, 1 + N, D).
    """

    tokens: Tensor
    branches: tuple[Tensor, ...]


class PatchTransformer(Student):
    """A transformer over 16 x 16 patches of a log-mel spectrogram: 85.3 M parameters at EAT's size.

    A frame is the mean of the patches of one column, every 160 ms with patches of 16. A clip is the first token, or
    the mean of its frames. Clips of more than 10 s are encoded in windows of 10 s, in training too. Pre-train the
    student with the objective `utterance_frame` (EAT; with teachers CAT) or `latent_prediction` (MATPAC), or train it
    with any teacher.

    Args:
        hidden: Width of a token: 768 in EAT, 192 for a small and 96 for a tiny student.
        layers: Number of blocks.
        heads: Number of attention heads.
        ratio: Width of the feed-forward parts, as a multiple of `hidden`.
        norm: Place of the norms in a block: "post" (EAT, CAT) or "pre" (MATPAC).
        bands: Number of mel bands. 128: Kaldi's filter bank, normalised as in EAT. 80: Slaney's mel, as in MATPAC.
        resolutions: Sides of CAT's patches, such as 4, 8, 16, with convolutions between. The last is the side of a
            token's patch, and must divide the bands. Empty means one convolution of 16.
        channels: Number of channels of each resolution but the last. None means those of CAT's published variants:
            384; 256 and 384; or 256, 384 and 768.
        pooling: Embedding of a clip: the "first" token, or the "mean" of its frames.
        frames: Number of spectra to which each clip is padded with zeros or cut, before it is normalised. 1024 in EAT
            on AudioSet. 0 pads to the next whole patch, masks the padding of shorter clips in a batch, and encodes
            longer clips in windows.
        mean: Mean that is subtracted from the spectrogram. None means that of AudioSet.
        scale: Number that the spectrogram is divided by. None means that of AudioSet.
        drop_path: Probability that the last block is dropped in training. It falls linearly to 0 at the first block.
        spec_augment: Largest share of the bands, and of the spectra, that is masked in training (Park et al. 2019).
            0 disables it.
        classes: Number of classes of a head on the clip, for fine-tuning. 0 means no head. `distill fit` takes it from
            labelled data.
        checkpoint: Official EAT or CAT file to start from (fairseq or Hugging Face). Its sizes replace those given.
            None means random weights.

    Raises:
        UserError: the sizes do not fit each other, or the file is not an EAT or CAT encoder.
    """

    sample_rate = 16_000

    takes_classes = True

    def __init__(
        self,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        ratio: float = 4.0,
        norm: str = "post",
        bands: int = 128,
        resolutions: Sequence[int] = (),
        channels: Sequence[int] | None = None,
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
        _check_options(norm, bands, pooling, spec_augment)
        sizes: dict[str, Any] = {"hidden": hidden, "layers": layers, "resolutions": tuple(resolutions)}
        official = None if checkpoint is None else _read_official(checkpoint)
        if official is not None:
            sizes |= official.sizes
            self.sizes = sizes
        width, sides = sizes["hidden"], sizes["resolutions"]
        if width % heads or width % 4:
            raise UserError(f"--student.hidden {width}: must be a multiple of --student.heads {heads} and of 4")
        self.mel = _mel_front_end(bands, self.sample_rate)
        self.frames, self.pooling, self.spec_augment = frames, pooling, spec_augment
        if not frames:
            self.whole_seconds = Windows().seconds  # attention over a clip costs the square of its length
        default_mean, default_scale = _EAT if bands == 128 else _MATPAC
        self.mean = default_mean if mean is None else mean
        self.scale = default_scale if scale is None else scale
        self.patches = MultiResolution(width, sides, channels) if sides else PatchConvolution(width)
        self.patch = self.patches.side
        _check_patch(self.patch, bands, frames)
        self.rows = bands // self.patch
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width, EPSILON) if norm == "post" else nn.Identity()
        drops = [drop_path * number / max(1, sizes["layers"] - 1) for number in range(sizes["layers"])]
        self.blocks = nn.ModuleList(BLOCKS[norm](width, heads, ratio, drop) for drop in drops)
        self.last_norm = nn.LayerNorm(width, EPSILON) if norm == "pre" else nn.Identity()
        self.blocks.apply(_initialise)
        self.head = _classification_head(width, classes) if classes else None
        self._positions = torch.zeros(0, 0)  # for the longest input until now
        if official is not None:
            self.provenance = official.load(self, classes)

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by the keys of EAT's and CAT's files for fairseq.

        Raises:
            UserError: the network is one of MATPAC's kind, which that code has not.
        """
        if isinstance(self.norm, nn.Identity) or not isinstance(self.mel, KaldiFbank):
            raise UserError("EAT's code has --student.norm post and --student.bands 128 only")
        return {official_key(key): tensor for key, tensor in self.state_dict().items()}

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.first.shape[2]

    def spectrogram(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Compute the normalised spectrogram of a batch at any sample rate.

        Returns:
            Spectra (B, T, bands), T a multiple of the patch, and the number of valid columns of patches (B,), int64.
        """
        batch = batch.resample(self.sample_rate)
        centred = remove_mean(batch.waveform, batch.lengths)
        mel = self.mel(centred) if isinstance(self.mel, KaldiFbank) else self.mel(centred).transpose(1, 2)
        valid = self.mel.frames(batch.lengths)
        mel = mel * frame_mask(valid, mel.shape[1]).unsqueeze(2)  # as a clip that is not in a batch is padded
        # Not -(-n // patch): an exported graph rounds integer division towards 0.
        total = self.frames or (mel.shape[1] + self.patch - 1) // self.patch * self.patch
        mel = F.pad(mel, (0, 0, 0, max(0, total - mel.shape[1])))[:, :total]
        return (mel - self.mean) / self.scale, self._columns(valid, total)

    def _columns(self, valid: Tensor, total: int) -> Tensor:
        """Return the number of valid columns of patches (B,), given valid spectra (B,), of `total` spectra."""
        needed = (valid + self.patch - 1) // self.patch
        return valid.new_full((valid.shape[0],), total // self.patch) if self.frames else needed

    def embed_patches(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed the patches of a spectrogram (B, T, bands), and add their positions.

        Args:
            spectrogram: Normalised spectra, as `spectrogram` returns them. Shape (B, T, bands).
            visible: 1 where a patch is visible, 0 where it is hidden. Shape (B, columns, rows). None: all are visible.

        Returns:
            Tokens. Shape (B, N, D).
        """
        tokens = self.patches(spectrogram, visible)
        if torch.compiler.is_exporting():
            return tokens + positions(tokens.shape[1] // self.rows, self.rows, self.width, tokens.device)
        if self._positions.shape[0] < tokens.shape[1] or self._positions.device != tokens.device:
            self._positions = positions(tokens.shape[1] // self.rows, self.rows, self.width, tokens.device)
        return tokens + self._positions[: tokens.shape[1]]

    def contextual(self, tokens: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode tokens by all blocks.

        Args:
            tokens: All or some tokens of each clip. Shape (B, N, D).
            valid: False at padding. Shape (B, N), bool. None means that all tokens are valid.
        """
        first = self.first.expand(tokens.shape[0], -1, -1)
        x = self.norm(torch.cat([first, tokens.to(first.dtype)], dim=1))
        if valid is not None:
            valid = F.pad(valid, (1, 0), value=True)
        branches = []
        for block in self.blocks:
            x, branch = block(x, valid)
            branches.append(branch)
        return Encoded(self.last_norm(x), tuple(branches))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch of audio at 16 kHz. Clips of similar length share a padding."""
        if self.frames or torch.compiler.is_exporting():
            return self._encode_padded(batch)
        return by_similar_length(self._encode_padded, batch)

    def _encode_padded(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch with the padding that it has."""
        spectrogram, columns = self.spectrogram(batch)
        if self.training and self.spec_augment:
            spectrogram = blank_spans(spectrogram, self.spec_augment)
        valid_columns = frame_mask(columns, spectrogram.shape[1] // self.patch)
        # An exported graph cannot branch on values, and its clips are not padded.
        unpadded = torch.compiler.is_exporting() or self._is_unpadded(batch, spectrogram)
        valid = None if unpadded else valid_columns.unsqueeze(2).expand(-1, -1, self.rows)
        tokens = self.embed_patches(spectrogram.to(self.dtype), None if valid is None else valid.to(self.dtype))
        encoded = self.contextual(tokens, None if valid is None else valid.flatten(1)).tokens
        frames = encoded[:, 1:].unflatten(1, (-1, self.rows)).mean(2)
        hop = 160 / self.sample_rate
        columns_from_start = torch.arange(frames.shape[1], device=frames.device)
        times = 0.0125 + hop * (self.patch * columns_from_start + (self.patch - 1) / 2)
        clip = encoded[:, 0] if self.pooling == "first" else None
        embeddings = Embeddings.of_frames(frames, times, valid_columns, clip=clip)
        return embeddings if self.head is None else embeddings._replace(logits=self.head(embeddings.clip))

    def require_one_window(self, batch: AudioBatch) -> None:
        """Raise UserError if a batch is longer than a window. Masked objectives encode clips whole."""
        seconds = batch.waveform.shape[1] / batch.sample_rate
        if not self.frames and seconds > self.whole_seconds:
            raise UserError(
                f"clips of {seconds:.1f} s are longer than a window, {self.whole_seconds:g} s: use --crop.seconds "
                f"{self.whole_seconds:g}, or a fixed input (--student.frames)"
            )

    def _is_unpadded(self, batch: AudioBatch, spectrogram: Tensor) -> bool:
        """Return whether all patches of a batch at 16 kHz are valid, by the lengths on the CPU."""
        total = spectrogram.shape[1]
        return bool((self._columns(self.mel.frames(batch.host_lengths), total) >= total // self.patch).all())

    def layer_depth(self, parameter: str) -> int:
        """Return the depth of a parameter, counted from the last block (1) to the first. 0: not in a block."""
        parts = parameter.split(".")
        return len(self.blocks) - int(parts[1]) if parts[0] == "blocks" else 0


def blank_spans(spectrogram: Tensor, share: float) -> Tensor:
    """Set one random span of bands and one of spectra to 0 in each clip (SpecAugment, Park et al. 2019).

    Args:
        spectrogram: Spectra. Shape (B, T, F).
        share: Largest width of a span, as a share of the bands or of the spectra.

    Returns:
        Shape (B, T, F).
    """
    kept = torch.ones_like(spectrogram, dtype=torch.bool)
    for axis in (1, 2):
        size = spectrogram.shape[axis]
        width = torch.rand(len(spectrogram), 1, device=spectrogram.device) * share * size
        start = torch.rand(len(spectrogram), 1, device=spectrogram.device) * (size - width)
        position = torch.arange(size, device=spectrogram.device)
        outside_span = (position < start.floor()) | (position >= (start + width).floor())
        kept = kept & outside_span.unsqueeze(3 - axis)
    return spectrogram * kept


def _check_options(norm: str, bands: int, pooling: str, spec_augment: float) -> None:
    """Check options that do not depend on the checkpoint. Raise UserError."""
    require_one_of("--student.norm", norm, tuple(BLOCKS))
    require_one_of("--student.pooling", pooling, POOLINGS)
    if bands not in (80, 128):
        raise UserError(f"--student.bands {bands}: must be 128 (EAT) or 80 (MATPAC)")
    if not 0 <= spec_augment < 1:
        raise UserError(f"--student.spec_augment {spec_augment}: must be at least 0 and below 1")


def _check_patch(side: int, bands: int, frames: int) -> None:
    """Raise UserError if patches of this side do not cover the bands and the fixed number of spectra."""
    if bands % side:
        raise UserError(f"--student.resolutions: the last one, {side}, must divide --student.bands {bands}")
    if frames % side or frames < 0:
        raise UserError(f"--student.frames {frames}: must be a multiple of the patch, {side}")


def _mel_front_end(bands: int, sample_rate: int) -> KaldiFbank | LogMel:
    """Return EAT's front-end (128 bands) or MATPAC's (80 bands)."""
    if bands == 128:
        return KaldiFbank(bands)
    return LogMel(sample_rate, window=400, hop=160, bands=bands, low=50.0, high=8_000.0, offset=_LOG_OFFSET)


def _classification_head(width: int, classes: int) -> nn.Sequential:
    """Return a norm and a linear layer, as EAT's head for fine-tuning."""
    last = nn.Linear(width, classes)
    nn.init.trunc_normal_(last.weight, std=0.02)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width, EPSILON), last)


def _initialise(module: nn.Module) -> None:
    """Initialise a linear layer as BERT does: N(0, 0.02)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        nn.init.zeros_(module.bias)


def _read_official(checkpoint: str) -> OfficialEncoder:
    """Read an official file. Raises UserError if it is not one."""
    where = f"--student.checkpoint {checkpoint}"
    tensors = without_wrappers(read_state_dict(checkpoint, "--student.checkpoint"), where)
    return official_encoder(tensors, checkpoint, where)
