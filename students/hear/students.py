"""HEAR's acoustic model and tokenizer as students."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import load_weights
from distill.data.encoders.recordings import Pieces
from distill.students.hear.acoustic import HEAR_SIZES, AcousticModel, AcousticSizes
from distill.students.hear.frontend import MEL_RATE, HearFrontEnd
from distill.students.hear.official import (
    CONV,
    acoustic_sizes,
    from_official_acoustic,
    read_submodule,
    submodule_state,
    to_official_acoustic,
)
from distill.students.hear.streaming import (
    ClipStatistics,
    HearStream,
    encode_long,
    frames_of_pieces,
    measure_statistics,
)
from distill.students.student import Student

TOKEN_HOP = 0.020  # seconds
FIRST_TOKEN = 0.005  # centre of the first token: between mel frames at 0 and 10 ms
_LONG = 60.0  # seconds; longer clips are encoded one window at a time


class Tokens(NamedTuple):
    """Input of the transformer.

    Args:
        mel: Standardised log-mel spectrograms. Shape (batch, 128, frames).
        features: Tokens before the first block. Shape (batch, time, hidden).
        lengths: Number of valid tokens of each clip, int64. Shape (batch,).
        host_lengths: `lengths` on the CPU.
    """

    mel: Tensor
    features: Tensor
    lengths: Tensor
    host_lengths: Tensor


class _AcousticStudent(Student):
    """A student with one `AcousticModel`."""

    sample_rate = MEL_RATE
    longest_crop = 6.0  # a window of attention; stage 1 refuses longer clips
    whole_seconds = math.inf  # `encode` reads long clips piece by piece
    front_end: HearFrontEnd
    acoustic: AcousticModel

    def __init__(
        self, sizes: AcousticSizes, state: Mapping[str, Tensor] | None, overlap: int, dropout: float, official: bool
    ) -> None:
        """Build the layers. An official acoustic model `state`, if given, sets the sizes and the weights."""
        super().__init__()
        sizes = sizes if state is None else acoustic_sizes(state)
        self.sizes = sizes._asdict()
        self.front_end = HearFrontEnd(official=official)
        self.acoustic = AcousticModel(sizes, overlap, dropout)
        if state is not None:
            load_weights(self.acoustic, from_official_acoustic(state), "--student.checkpoint")

    def tokens(self, batch: AudioBatch) -> Tokens:
        """Compute the input of the transformer from a batch at any sample rate."""
        batch = batch.resample(self.sample_rate)
        spectra = self.front_end(batch.waveform, batch.lengths)
        features = self.acoustic.features(spectra.mel)
        lengths = (spectra.frames // 2).clamp(max=features.shape[1])
        # A graph that is exported has no lengths on the CPU, and does not branch on them.
        frames = spectra.frames if torch.compiler.is_exporting() else self.front_end.frames(batch.host_lengths)
        return Tokens(spectra.mel, features, lengths, (frames // 2).clamp(max=features.shape[1]))

    def contextual(
        self, features: Tensor, lengths: Tensor, host_lengths: Tensor | None = None, encode_padding: bool = False
    ) -> Tensor:
        """Encode tokens (batch, time, hidden) by the transformer, with the arguments of `AcousticModel`."""
        return self.acoustic(features, lengths, host_lengths, encode_padding)

    def embeddings(self, encoded: Tensor, lengths: Tensor) -> Embeddings:
        """Return the embeddings of encoded tokens (batch, time, hidden) with valid `lengths` (batch,)."""
        times = FIRST_TOKEN + TOKEN_HOP * torch.arange(encoded.shape[1], device=encoded.device)
        return Embeddings.of_frames(encoded, times, frame_mask(lengths, encoded.shape[1]))

    def stream(self, statistics: ClipStatistics | None = None, reference: Tensor | None = None) -> HearStream:
        """Return an encoder of audio that comes in pieces at 16 kHz.

        Args:
            statistics: Statistics to standardise by. None means those of `reference`.
            reference: Similar audio (samples,), at 16 kHz. Required if there are no `statistics`.

        Raises:
            ValueError: neither is given.
        """
        if statistics is None:
            if reference is None:
                raise ValueError("a stream must have statistics, or a reference from which to measure them")
            statistics = measure_statistics(self.front_end, reference)
        return HearStream(self.front_end, self.acoustic, statistics)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch of audio at 16 kHz. Without gradients, long clips are encoded one window at a time."""
        if batch.waveform.shape[1] > _LONG * self.sample_rate and not torch.is_grad_enabled():
            clips = zip(batch.waveform, batch.lengths.tolist(), strict=True)
            frames = [encode_long(self.front_end, self.acoustic, waveform[:length]) for waveform, length in clips]
            counts = torch.tensor([len(clip_frames) for clip_frames in frames], device=batch.waveform.device)
            return self.embeddings(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), counts)
        tokens = self.tokens(batch)
        encoded = self.contextual(tokens.features, tokens.lengths, tokens.host_lengths)
        return self.embeddings(encoded, tokens.lengths)

    def encode_pieces(self, pieces: Pieces, frames: bool = True) -> Embeddings:
        """Encode one clip that comes in pieces at 16 kHz, as `Encoder.encode_pieces` states."""
        parts = frames_of_pieces(self.front_end, self.acoustic, lambda: (piece.to(self.device) for piece in pieces()))
        if frames:
            encoded = torch.cat(list(parts)).unsqueeze(0)
            return self.embeddings(encoded, torch.tensor([encoded.shape[1]], device=encoded.device))
        total, count = torch.zeros(self.acoustic.conv.out_channels, dtype=torch.float64, device=self.device), 0
        for part in parts:
            total, count = total + part.double().sum(0), count + len(part)
        return Embeddings.of_clip((total / count).float().unsqueeze(0))


class Hear(_AcousticStudent):
    """HEAR's acoustic model: 11.4 M parameters, and a frame every 20 ms. A clip is the mean of its frames.

    Attention windows of 6 s overlap by 1 s. Pre-train the student with the objective `masked_prediction`, or train it
    with any teacher.

    Args:
        hidden: Width of a token; a multiple of `heads`.
        intermediate: Width of the feed-forward parts.
        heads: Number of attention heads.
        layers: Number of blocks.
        window: Number of tokens of 20 ms in an attention window.
        overlap: Number of tokens that two windows share; at most half of a window.
        dropout: Dropout rate in the blocks.
        checkpoint: Official file to start from: the acoustic model, the whole of HEAR, or stage 2. Its sizes replace
            those given. None means random weights.
        official: Whether to standardise over the padded row, as the published code does.

    Raises:
        UserError: the sizes do not fit each other, or the file does not have the acoustic model.
    """

    def __init__(
        self,
        hidden: int = 384,
        intermediate: int = 1536,
        heads: int = 4,
        layers: int = 6,
        window: int = 300,
        overlap: int = 50,
        dropout: float = 0.1,
        checkpoint: str | None = None,
        official: bool = False,
    ) -> None:
        state, file = read_submodule(checkpoint, ("", "acoustic_model.", "encoder."), CONV)
        sizes = AcousticSizes(hidden, intermediate, heads, layers, window)
        super().__init__(sizes, state, overlap, dropout, official)
        self.provenance = file

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by the published keys, as in acoustic_model_weight.pth."""
        return to_official_acoustic(self.acoustic.state_dict())


class HearTokenizer(_AcousticStudent):
    """HEAR's tokenizer: 1.6 M parameters, and one of 1024 codes every 20 ms.

    Train it with the objective `tokenizer`. The frames are the input of the last layer, which computes the logits of
    the codes.

    Args:
        hidden: Width of a token; a multiple of `heads`.
        intermediate: Width of the feed-forward parts.
        heads: Number of attention heads.
        layers: Number of blocks.
        codes: Size of the vocabulary.
        window: Number of tokens of 20 ms in an attention window.
        overlap: Number of tokens that two windows share; at most half of a window.
        dropout: Dropout rate in the blocks.
        checkpoint: Official file to start from: the tokenizer, or the whole of stage 1 or 2. Its sizes replace those
            given. None means random weights.
        official: Whether to standardise over the padded row, as the published code does.

    Raises:
        UserError: the sizes do not fit each other, or the file does not have the tokenizer.
    """

    def __init__(
        self,
        hidden: int = 128,
        intermediate: int = 512,
        heads: int = HEAR_SIZES.heads,
        layers: int = HEAR_SIZES.layers,
        codes: int = 1024,
        window: int = HEAR_SIZES.window,
        overlap: int = 50,
        dropout: float = 0.1,
        checkpoint: str | None = None,
        official: bool = False,
    ) -> None:
        state, file = read_submodule(checkpoint, ("tokenizer.", ""), f"encoder.{CONV}")
        encoder: dict[str, Tensor] | None = None
        if state is not None:
            encoder = submodule_state(state, ("encoder.",), CONV, f"--student.checkpoint {checkpoint}")
            codes = len(state["linear.weight"])
        sizes = AcousticSizes(hidden, intermediate, heads, layers, window)
        super().__init__(sizes, encoder, overlap, dropout, official)
        self.provenance, self.codes = file, codes
        self.sizes = {**self.sizes, "codes": codes}
        self.to_codes = nn.Linear(self.sizes["hidden"], codes)
        if state is not None:
            load_weights(self.to_codes, submodule_state(state, ("linear.",), "weight", ""), "--student.checkpoint")

    def logits(self, tokens: Tokens, encode_padding: bool = False) -> Tensor:
        """Return the logits of all codes of the vocabulary, of padding too if asked. Shape (batch, time, codes)."""
        return self.to_codes(self.contextual(tokens.features, tokens.lengths, tokens.host_lengths, encode_padding))

    @torch.no_grad()
    def tokenize(
        self, batch: AudioBatch, computed: Tokens | None = None, encode_padding: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the code of each token, in evaluation mode.

        Args:
            batch: Clips at any sample rate.
            computed: `tokens(batch)` of another HEAR student; its mel spectrograms are used. None computes them.
            encode_padding: As for `AcousticModel`.

        Returns:
            Codes (batch, time), int64, and the number of valid tokens of each clip (batch,), int64.
        """
        training = self.training
        self.eval()
        try:
            tokens = self.tokens(batch) if computed is None else self._replace_features(computed)
            return self.logits(tokens, encode_padding).argmax(2), tokens.lengths
        finally:
            self.train(training)

    def _replace_features(self, computed: Tokens) -> Tokens:
        return computed._replace(features=self.acoustic.features(computed.mel))

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by the published keys, as in tokenizer_weight.pth."""
        encoder = to_official_acoustic(self.acoustic.state_dict())
        head = {f"linear.{key}": tensor for key, tensor in self.to_codes.state_dict().items()}
        return {f"encoder.{key}": tensor for key, tensor in encoder.items()} | head
