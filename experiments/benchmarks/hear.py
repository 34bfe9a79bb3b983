"""Time HEAR: inference and training against a literal transcription of the published formulas, cost against length."""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from measure import PAIRS, Row, cpu_seconds, in_turns, table, write_section
from sgemm import products, sgemm_seconds
from torch import Tensor, nn
from torch.nn import functional as F
from workers import DEFAULT_MALLOC, Worker, serve

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch
from distill.data.encoders.packed import pack
from distill.objectives.masked import MaskedTokenPrediction
from distill.objectives.objective import Objective
from distill.objectives.parts.quantizer import GumbelQuantizer, Quantized
from distill.students.hear.acoustic import AcousticModel
from distill.students.hear.classifier import HearClassifier, TaskModel
from distill.students.hear.dropout import Dropout
from distill.students.hear.frontend import HearFrontEnd, Spectra
from distill.students.hear.students import Hear, HearTokenizer, Tokens
from distill.students.hear.transformer import RelativeAttention, RelativeBlock

CALLS = 5  # together are long enough for the clock of the processor
M = TypeVar("M", bound=nn.Module)


class LiteralAttention(RelativeAttention):
    """Gather a table of positions (time, time, dim) for each product, as published."""

    def forward(self, tokens: Tensor, outside: Tensor | None = None) -> Tensor:
        clips, length, dim = tokens.shape
        size = dim // self.heads
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        query, key, value = (
            F.linear(tokens, w, b).view(clips, length, self.heads, size).permute(0, 2, 1, 3)
            for w, b in zip(weights, biases, strict=True)
        )
        place = torch.arange(length)
        rows = place.unsqueeze(0) - place.unsqueeze(1) + self.reach
        position_keys, position_values = F.embedding(rows, self.position_keys), F.embedding(rows, self.position_values)
        content = torch.matmul(query + self.content_bias.unsqueeze(1), key.permute(0, 1, 3, 2))
        by_query = (query + self.position_bias.unsqueeze(1)).permute(2, 0, 1, 3).reshape(length, -1, size)
        position = torch.matmul(by_query, position_keys.transpose(1, 2))
        position = position.transpose(0, 1).reshape(clips, self.heads, length, length)
        scores = (content + position) / size**0.5
        if outside is not None:
            scores = scores.masked_fill(outside[:, None, None, :], torch.finfo(scores.dtype).min)
        probabilities = F.dropout(scores.softmax(-1), self.dropout.share, self.training)
        by_content = torch.matmul(probabilities, value)
        flat = probabilities.permute(2, 0, 1, 3).reshape(length, -1, length)
        by_position = torch.matmul(flat, position_values).transpose(0, 1)
        attended = by_content + by_position.reshape(clips, self.heads, length, size)
        return self.out(attended.permute(0, 2, 1, 3).reshape(clips, length, dim))


class LiteralDropout(Dropout):
    def forward(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.share, self.training)


class LiteralBlock(RelativeBlock):
    def forward(self, tokens: Tensor, outside: Tensor | None = None) -> Tensor:
        residual = tokens.clone()
        tokens = self.attention(self.norm1(tokens), outside) + residual
        residual = tokens.clone()
        return self.feed_forward(self.norm2(tokens)) + residual


class LiteralAcousticModel(AcousticModel):
    """Encode all windows whole, with a mask."""

    def forward(
        self, features: Tensor, lengths: Tensor, host_lengths: Tensor | None = None, encode_padding: bool = False
    ) -> Tensor:
        clips, length, _ = features.shape
        if length <= self.window:
            return self._masked(features, lengths)
        step = self.window - self.overlap
        count = -(-(length - self.window) // step) + 1
        padded = F.pad(features, (0, 0, 0, self.window + (count - 1) * step - length))
        windows = padded.unfold(1, self.window, step).permute(0, 1, 3, 2)
        starts = torch.arange(count) * step
        valid = (lengths.unsqueeze(1) - starts).clamp(0, self.window)
        kept = (starts == 0) | (lengths.unsqueeze(1) > starts + self.overlap)
        encoded = self._masked(windows[kept], valid[kept])
        sums, weights = torch.zeros_like(padded), torch.zeros(clips, padded.shape[1], 1)
        for place, (clip, window) in enumerate(kept.nonzero().tolist()):
            start = window * step
            sums[clip, start : start + self.window] += encoded[place] * self.taper.unsqueeze(1)
            weights[clip, start : start + self.window] += self.taper.unsqueeze(1)
        return (sums / weights.clamp(min=1e-8))[:, :length]

    def _masked(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        outside = ~frame_mask(lengths, tokens.shape[1])
        for layer in self.layers:
            tokens = layer(tokens, outside)
        return tokens


class LiteralTaskModel(TaskModel):
    def forward(self, tokens: Tensor, lengths: Tensor, host_lengths: Tensor | None = None) -> Tensor:
        outside = ~frame_mask(lengths, tokens.shape[1])
        return self.transformer(tokens + self.pos_embed[:, : tokens.shape[1]], src_key_padding_mask=outside)


_FILTERS = mel_filters(128, 1024, 16_000, 0.0, 8_000.0, slaney=False)


class LiteralFrontEnd(HearFrontEnd):
    """Compute one STFT for mel, and the same STFT again for power."""

    def forward(self, waveform: Tensor, lengths: Tensor, power: bool = False) -> Spectra:
        waveform = waveform - waveform.mean(1, keepdim=True)
        spectra = []
        for needed in (True, power):
            if needed:
                stft = torch.stft(
                    waveform, 1024, 160, 400, self.mel.window_function, center=True, pad_mode="reflect",
                    return_complex=True,
                )  # fmt: skip
                spectra.append(stft.abs().pow(2.0))
        frames = lengths // 160 + 1
        mel = torch.matmul(spectra[0].transpose(1, 2), _FILTERS).transpose(1, 2)
        mel, *rest = (self._literal(part) for part in (mel, *spectra[1:]))
        return Spectra(mel, rest[0] if rest else mel.new_zeros(len(mel), 0, 0), frames)

    def _literal(self, energies: Tensor) -> Tensor:
        logarithm = torch.log(energies + 1e-6)
        mean = logarithm.mean(dim=(1, 2), keepdim=True)
        return (logarithm - mean) / (logarithm.std(dim=(1, 2), keepdim=True, correction=0) + 1e-6)


def literal(model: M) -> M:
    """Return a copy that computes the formulas as published."""
    model = copy.deepcopy(model)
    kinds: dict[type, type] = {
        RelativeAttention: LiteralAttention, RelativeBlock: LiteralBlock, AcousticModel: LiteralAcousticModel,
        HearFrontEnd: LiteralFrontEnd, GumbelQuantizer: LiteralQuantizer, Dropout: LiteralDropout,
        MaskedTokenPrediction: LiteralMaskedTokenPrediction, TaskModel: LiteralTaskModel,
    }  # fmt: skip
    parts = [*model.modules()]
    if isinstance(model, MaskedTokenPrediction):
        parts += [*model.tokenizer.modules()]  # modules() does not include it
    for module in parts:
        module.__class__ = kinds.get(type(module), type(module))
    return model


def paired_cpu(ours: Callable[[], object], rival: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Return the median CPU seconds of both, in turns after one unmeasured round, and the median ratio."""
    ours(), rival()
    return in_turns(ours, rival, pairs, cpu_seconds)


def classifier() -> tuple[HearClassifier, AudioBatch]:
    """Return the whole of HEAR and a clip of 10 s, for one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return HearClassifier(classes=50).eval(), AudioBatch.of(torch.randn(1, 160_000) * 0.1, 16_000)


def forward(model: HearClassifier, batch: AudioBatch) -> Tensor:
    with torch.inference_mode():
        return model(batch).logits


def serve_forward(kind: str) -> None:
    """Print the CPU seconds of a forward pass at each request: of "ours" as `distill.load` returns it, or "literal"."""
    model, batch = classifier()
    if kind == "literal":
        model = literal(model)
    else:
        pack(model)
    forward(model, batch)
    serve(lambda: cpu_seconds(lambda: forward(model, batch)))


def inference() -> list[Row]:
    model, batch = classifier()
    expected = forward(literal(model), batch)
    pack(model)
    torch.testing.assert_close(forward(model, batch), expected, atol=1e-4, rtol=1e-4)
    alone = sgemm_seconds(products(lambda: model(batch)), cpu_median)
    share = alone / statistics.median(cpu_seconds(lambda: forward(model, batch)) for _ in range(9))
    rows = []
    for name, environment, goal in (("default malloc", DEFAULT_MALLOC, 2.7), ("freed memory kept", {}, 1.6)):
        with (
            Worker([__file__, "serve", "ours"]) as mine,
            Worker([__file__, "serve", "literal"], environment) as theirs,
        ):
            seconds, others, ratio = in_turns(mine, theirs, measure=Worker.measure)
        case = "`hear_classifier`, 10 s, batch 1, one thread, CPU time"
        rows.append(Row(case, seconds, others, goal, f"literal transcription, {name}", ratio, "s", share, 0.85))
    return rows


def cpu_median(function: Callable[[], object], repeats: int) -> float:
    """Return the median of the CPU seconds of several calls, for one."""
    return statistics.median(cpu_seconds(lambda: [function() for _ in range(CALLS)]) / CALLS for _ in range(repeats))


class LiteralMaskedTokenPrediction(MaskedTokenPrediction):
    """Compute logits of all tokens, then select those of masked tokens."""

    def score(self, batch: AudioBatch, tokens: Tokens, hidden: Tensor) -> dict[str, Tensor]:
        encoded = self.student.contextual(tokens.features * ~hidden.unsqueeze(2), tokens.lengths)
        logits, labels = self.to_codes(encoded), self._codes(batch, tokens)
        return {"masked_tokens": F.cross_entropy(logits[hidden], labels[hidden])}


class LiteralQuantizer(GumbelQuantizer):
    """Multiply every code of every token by its one-hot choice, as published."""

    def forward(self, logits: Tensor, inside: Tensor, noise: Tensor | None = None) -> Quantized:
        chosen = F.gumbel_softmax(logits, tau=float(self.temperature), hard=True)
        products = chosen.unsqueeze(-1) * self.codebook
        vectors = self.project(products.sum(-2))
        mean = logits.softmax(-1)[inside].mean(0)
        return Quantized(vectors, chosen.argmax(-1), (mean - 1 / len(self.codebook)).square().sum())


def stage_two() -> MaskedTokenPrediction:
    torch.manual_seed(0)
    return MaskedTokenPrediction(Hear(), HearTokenizer()).train()


def step(objective: Objective, batch: AudioBatch) -> Callable[[], None]:
    def run() -> None:
        objective.zero_grad()
        objective.total(objective(batch)).backward()

    return run


def training() -> tuple[list[Row], list[str]]:
    torch.set_num_threads(1)
    batch = AudioBatch.of(torch.randn(16, 96_000) * 0.1, 16_000)
    ours, rival = stage_two(), literal(stage_two())
    seconds, theirs, ratio = paired_cpu(step(ours, batch), step(rival, batch), PAIRS)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(ours, batch)()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = ", ".join(
        f"{event.key.removeprefix('aten::')} {event.self_cpu_time_total / total:.0%}" for event in events[:6]
    )
    share = sgemm_seconds(products(step(ours, batch), True), cpu_median) / seconds
    case = "stage 2, step of 16 x 6 s, one thread, CPU time"
    row = Row(case, seconds, theirs, 1.5, "literal transcription", ratio, "s", share, 0.85)
    return [row], [f"- Share of that step's time: {shares}."]


def main() -> None:
    rows = inference()
    print(*table(rows), sep="\n", flush=True)
    more, profile = training()
    write_section("HEAR", [*table([*rows, *more]), "", *profile], "hear")


if __name__ == "__main__":
    serve_forward(sys.argv[2])
