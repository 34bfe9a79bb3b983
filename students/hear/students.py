"""HEAR's acoustic model and its tokenizer, as students."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import load_weights
from distill.students.hear.acoustic import AcousticModel
from distill.students.hear.frontend import MEL_RATE, HearFrontEnd
from distill.students.hear.official import (
    CONV,
    acoustic_sizes,
    from_official_acoustic,
    part_of,
    read_part,
    to_official_acoustic,
)
from distill.students.hear.streaming import HearStream, Statistics, encode_long, statistics_of
from distill.students.student import Student

TOKEN_HOP = 0.020  # seconds
FIRST_TOKEN = 0.005  # centre of the first token: between mel frames at 0 and 10 ms
_LONG = 60.0  # seconds from which a clip is encoded a window at a time


class Tokens(NamedTuple):
    """What a transformer is about to see.

    Args:
        mel: Normalised log-mel. Shape (batch, 128, frames).
        features: Tokens before the first block. Shape (batch, time, hidden).
        lengths: Valid tokens of each clip, int64. Shape (batch,).
    """

    mel: Tensor
    features: Tensor
    lengths: Tensor


class _Acoustic(Student):
    """A student around an `AcousticModel`."""

    sample_rate = MEL_RATE
    front_end: HearFrontEnd
    acoustic: AcousticModel

    def _build(
        self, sizes: dict[str, Any], state: Mapping[str, Tensor] | None, overlap: int, dropout: float, official: bool
    ) -> None:
        """Make the parts, of the sizes and with the weights of an official acoustic model where one is given."""
        self.sizes = sizes if state is None else acoustic_sizes(state)
        self.front_end = HearFrontEnd(official=official)
        self.acoustic = AcousticModel(**self.sizes, overlap=overlap, dropout=dropout)
        if state is not None:
            load_weights(self.acoustic, from_official_acoustic(state), "--student.checkpoint")

    def tokens(self, batch: AudioBatch) -> Tokens:
        """The input of the transformer, from a batch at any sample rate."""
        batch = batch.resample(self.sample_rate)
        spectra = self.front_end(batch.waveform, batch.lengths)
        features = self.acoustic.features(spectra.mel)
        return Tokens(spectra.mel, features, (spectra.frames // 2).clamp(max=features.shape[1]))

    def contextual(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Tokens in their context: (batch, time, hidden), same shape out."""
        return self.acoustic(features, lengths)

    def embeddings(self, encoded: Tensor, lengths: Tensor) -> Embeddings:
        """Embeddings of encoded tokens (batch, time, hidden)."""
        times = FIRST_TOKEN + TOKEN_HOP * torch.arange(encoded.shape[1], device=encoded.device)
        return Embeddings.of_frames(encoded, times, frame_mask(lengths, encoded.shape[1]))

    def stream(self, statistics: Statistics | None = None, like: Tensor | None = None) -> HearStream:
        """Frames of sound that comes in pieces at 16 kHz.

        Args:
            statistics: What to normalise by.
            like: Sound to take them from (samples,), at 16 kHz, where they are not given.
        """
        if statistics is None:
            if like is None:
                raise ValueError("a stream is normalised by statistics, or by those of sound that is like it")
            statistics = statistics_of(self.front_end, like)
        return HearStream(self.front_end, self.acoustic, statistics)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz; long clips a window at a time, outside training."""
        if batch.waveform.shape[1] > _LONG * self.sample_rate and not torch.is_grad_enabled():
            clips = zip(batch.waveform, batch.lengths.tolist(), strict=True)
            frames = [encode_long(self.front_end, self.acoustic, waveform[:length]) for waveform, length in clips]
            counts = torch.tensor([len(own) for own in frames], device=batch.waveform.device)
            return self.embeddings(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), counts)
        tokens = self.tokens(batch)
        return self.embeddings(self.contextual(tokens.features, tokens.lengths), tokens.lengths)


class Hear(_Acoustic):
    """HEAR's acoustic model: 11.4 M parameters, a frame every 20 ms; a clip is the mean of its frames.

    Attention sees windows of 6 s that overlap by 1 s. Pre-train it with the objective `masked_prediction`, or distil
    any teacher into it.

    Args:
        hidden: Width of a token.
        intermediate: Width of the feed-forward parts.
        heads: Of attention.
        layers: Number of blocks.
        window: Tokens of 20 ms that attention sees at once.
        overlap: Tokens that two windows share.
        dropout: In the blocks.
        checkpoint: Official file to start from (the acoustic model, HEAR whole, or stage 2); its sizes are used.
        official: Normalise over the padded row, as the published code does.
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
        super().__init__()
        sizes: dict[str, Any] = {
            "hidden": hidden, "intermediate": intermediate, "heads": heads, "layers": layers, "window": window,
        }  # fmt: skip
        state: dict[str, Tensor] | None = None
        if checkpoint is not None:
            state, self.provenance = read_part(checkpoint, ("", "acoustic_model.", "encoder."), CONV)
        self._build(sizes, state, overlap, dropout, official)

    def official_state(self) -> dict[str, Tensor]:
        """The weights by the published keys, as in acoustic_model_weight.pth."""
        return to_official_acoustic(self.acoustic.state_dict())


class HearTokenizer(_Acoustic):
    """HEAR's tokenizer: 1.6 M parameters, one of 1024 tokens every 20 ms; train it with the objective `tokenizer`.

    Frames are those before the last layer, which makes the logits of the tokens.

    Args:
        hidden: Width of a token.
        intermediate: Width of the feed-forward parts.
        heads: Of attention.
        layers: Number of blocks.
        codes: Size of the vocabulary.
        window: Tokens of 20 ms that attention sees at once.
        overlap: Tokens that two windows of a longer clip share.
        dropout: In the blocks.
        checkpoint: Official file to start from (the tokenizer, or stage 1 or 2 whole); its sizes are used.
        official: Normalise over the padded row, as the published code does.
    """

    def __init__(
        self,
        hidden: int = 128,
        intermediate: int = 512,
        heads: int = 4,
        layers: int = 6,
        codes: int = 1024,
        window: int = 300,
        overlap: int = 50,
        dropout: float = 0.1,
        checkpoint: str | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {
            "hidden": hidden, "intermediate": intermediate, "heads": heads, "layers": layers, "window": window,
        }  # fmt: skip
        state: dict[str, Tensor] | None = None
        encoder: dict[str, Tensor] | None = None
        if checkpoint is not None:
            state, self.provenance = read_part(checkpoint, ("tokenizer.", ""), f"encoder.{CONV}")
            encoder = part_of(state, ("encoder.",), CONV, f"--student.checkpoint {checkpoint}")
            codes = len(state["linear.weight"])
        self._build(sizes, encoder, overlap, dropout, official)
        self.codes = codes
        self.sizes = {**self.sizes, "codes": codes}
        self.to_codes = nn.Linear(self.sizes["hidden"], codes)
        if state is not None:
            load_weights(self.to_codes, part_of(state, ("linear.",), "weight", ""), "--student.checkpoint")

    def logits(self, tokens: Tokens) -> Tensor:
        """Scores of all tokens of the vocabulary. Shape (batch, time, codes)."""
        return self.to_codes(self.contextual(tokens.features, tokens.lengths))

    @torch.no_grad()
    def tokenize(self, batch: AudioBatch, heard: Tokens | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (batch, time), int64, and how many of each clip are valid (batch,), in evaluation mode.

        Args:
            batch: Clips at any sample rate.
            heard: What another model of HEAR has made of them: the mel spectrogram is taken from there.
        """
        training = self.training
        self.eval()
        try:
            tokens = self.tokens(batch) if heard is None else self._from_mel(heard)
            return self.logits(tokens).argmax(2), tokens.lengths
        finally:
            self.train(training)

    def _from_mel(self, heard: Tokens) -> Tokens:
        return heard._replace(features=self.acoustic.features(heard.mel))

    def official_state(self) -> dict[str, Tensor]:
        """The weights by the published keys, as in tokenizer_weight.pth."""
        encoder = to_official_acoustic(self.acoustic.state_dict())
        head = {f"linear.{key}": tensor for key, tensor in self.to_codes.state_dict().items()}
        return {f"encoder.{key}": tensor for key, tensor in encoder.items()} | head
