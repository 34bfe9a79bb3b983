"""Measure teachers: front-ends against loops, BEATs' attention, cheaper arithmetic, memory of long clips."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from measure import ROOT, Row, paired, table, write_section
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.kaldi import KaldiFbank
from distill.data.audio.mel import DecibelMel
from distill.data.batch import AudioBatch
from distill.run.precision import Arithmetic
from distill.teachers import beats
from distill.teachers.ast import AST
from distill.teachers.clap import CLAP
from distill.teachers.teacher import Teacher

BATCH, SECONDS = 8, 10


@torch.inference_mode()  # as in `distill embed`
def front_ends() -> list[Row]:
    from transformers import ASTFeatureExtractor, ClapFeatureExtractor

    waveform = torch.randn(BATCH, SECONDS * 16_000) * 0.1
    clips = list(waveform.numpy())
    rows = []
    extractor, batch = ASTFeatureExtractor(), AudioBatch.of(waveform, 16_000)
    fbank = KaldiFbank(128, "hanning", mean=extractor.mean, scale=2 * extractor.std)

    def ast() -> Tensor:
        return fbank.of_length(batch, extractor.max_length)

    def ast_rival() -> Tensor:
        return extractor(clips, sampling_rate=16_000, return_tensors="pt")["input_values"]

    torch.testing.assert_close(ast(), ast_rival(), atol=1e-3, rtol=1e-4)
    ours, theirs, ratio = paired(ast, ast_rival, pairs=25)
    rows.append(Row("front-end of AST", ours, theirs, 3, "ASTFeatureExtractor of transformers", ratio))

    povey = KaldiFbank(128, "povey", full_scale=2.0**15, mean=15.41663, scale=2 * 6.55582)

    def kaldi_loop() -> Tensor:
        fbanks = [
            torchaudio.compliance.kaldi.fbank(
                clip.unsqueeze(0) * 2**15, num_mel_bins=128, sample_frequency=16_000, frame_length=25, frame_shift=10
            )
            for clip in waveform
        ]
        return (torch.stack(fbanks) - 15.41663) / (2 * 6.55582)

    torch.testing.assert_close(povey(waveform), kaldi_loop(), atol=1e-4, rtol=0)
    ours, theirs, ratio = paired(lambda: povey(waveform), kaldi_loop, pairs=25)
    rows.append(Row("front-end of BEATs", ours, theirs, 3, "torchaudio.compliance.kaldi, clip by clip", ratio))

    wide = torch.randn(BATCH, SECONDS * 48_000) * 0.1
    mel, clap = (
        DecibelMel(64, 50, 14_000, slaney=True),
        ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad"),
    )
    wide_clips = list(wide.numpy())

    def clap_rival() -> Any:
        return clap(wide_clips, sampling_rate=48_000, return_tensors="pt")

    ours, theirs, ratio = paired(lambda: mel(wide), clap_rival, pairs=25)
    rows.append(Row("front-end of CLAP", ours, theirs, 2, "ClapFeatureExtractor of transformers", ratio))
    return rows


class LiteralAttention(beats.GatedAttention):
    """Compute the published formula step by step: three projections, scores, row maximum, gate, softmax, product."""

    def forward(self, tokens: Tensor, bias: Tensor, masked: Tensor | None, gated: Tensor) -> Tensor:
        clips, length, dim = tokens.shape
        size = dim // self.heads

        def split(values: Tensor) -> Tensor:
            return values.view(clips, length, self.heads, size).transpose(1, 2).reshape(-1, length, size)

        weights, biases = self.qkv_proj.weight.chunk(3), self.qkv_proj.bias.chunk(3)
        projected, key, value = (F.linear(tokens, w, b) for w, b in zip(weights, biases, strict=True))
        query, key, value = split(projected * size**-0.5 / 32), split(key), split(value)
        scores = torch.bmm(query, key.transpose(1, 2))
        scores = (scores - scores.max(dim=-1, keepdim=True)[0]) * 32
        ungated = projected.view(clips, length, self.heads, size).transpose(1, 2)
        gate = self.grep_linear(ungated).view(clips, self.heads, length, 2, 4).sum(-1).sigmoid()
        update, reset = gate.chunk(2, dim=-1)
        gate = update * (reset * self.grep_a - 1.0) + 2.0
        positions = bias.unsqueeze(0).repeat(clips, 1, 1, 1).view(clips * self.heads, length, length)
        scores = scores + gate.view(clips * self.heads, -1, 1) * positions
        attended = torch.bmm(scores.softmax(-1), value)
        return self.out_proj(attended.view(clips, self.heads, length, size).transpose(1, 2).reshape(tokens.shape))


class LiteralBlock(beats.BEATsBlock):
    """Compute the published block step by step."""

    def forward(self, tokens: Tensor, bias: Tensor, masked: Tensor | None, gated: Tensor) -> Tensor:
        tokens = self.self_attn_layer_norm(tokens * self.alpha + self.self_attn(tokens, bias, masked, gated))
        return self.final_layer_norm(tokens * self.alpha + self.fc2(F.gelu(self.fc1(tokens))))


class LiteralPositions(beats.PositionConvolution):
    """Compute the published convolution, summed tap by tap."""

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.Conv1d.forward(self, tokens.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2)


def random_beats(depth: int = 12) -> Teacher:
    """Return BEATs of the published width with random weights, loaded from the official format."""
    from tests.teachers.test_beats import build_beats

    torch.manual_seed(0)
    network = build_beats()
    network.encoder.layers = network.encoder.layers[:depth]
    state = network.state_dict()
    for fused in [key for key in state if "qkv_proj" in key]:
        parts = state.pop(fused).chunk(3)
        state |= {fused.replace("qkv", name): part for name, part in zip("qkv", parts, strict=True)}
    state["encoder.layers.0.self_attn.relative_attention_bias.weight"] = state.pop(
        "encoder.relative_attention_bias.weight"
    )
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": state, "cfg": {"max_distance": 800}}, Path(folder) / "beats.pt")
        return beats.BEATs(str(Path(folder) / "beats.pt"))


@torch.inference_mode()
def attention() -> list[Row]:
    teacher, literal = random_beats(), random_beats()
    for layer in literal.model.encoder.layers:
        layer.__class__, layer.self_attn.__class__ = LiteralBlock, LiteralAttention
    literal.model.encoder.pos_conv[0].__class__ = LiteralPositions
    batch = AudioBatch.of(torch.randn(4, SECONDS * 16_000) * 0.1, 16_000)
    difference = float((teacher(batch).frames - literal(batch).frames).abs().max())
    ours, theirs, ratio = paired(lambda: teacher(batch), lambda: literal(batch), pairs=9)
    case = f"BEATs, 12 layers, 4 clips of 10 s (equal to {difference:.0e})"
    return [Row(case, ours, theirs, 1.2, "literal transcription of its formulas", ratio)]


def random_teachers(folder: Path) -> dict[str, Teacher]:
    """Return teachers of the published width with random weights. 6 layers (CLAP: all) keep the run to minutes."""
    from transformers import ASTConfig, ASTForAudioClassification, ClapFeatureExtractor

    from tests.teachers.test_clap import build_clap

    torch.manual_seed(0)
    ASTForAudioClassification(ASTConfig(num_hidden_layers=6)).save_pretrained(folder / "ast")
    clap: Any = build_clap()
    clap.save_pretrained(folder / "clap")
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder / "clap")
    return {"ast": AST(str(folder / "ast")), "beats": random_beats(6), "clap": CLAP(str(folder / "clap"))}


@torch.inference_mode()
def arithmetic() -> list[str]:
    lines = ["| teacher | arithmetic | clips/s | times float32 | cosine to float32, lowest |", "|---|---|---|---|---|"]
    choices = {
        "float32": Arithmetic(),
        "bfloat16": Arithmetic("bfloat16"),
        "int8": Arithmetic("int8"),
        "compiled": Arithmetic(compile=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, teacher in random_teachers(Path(folder)).items():
            batch = AudioBatch.of(torch.randn(4, SECONDS * teacher.sample_rate) * 0.1, teacher.sample_rate)
            full = teacher(batch).clip
            for choice, setting in choices.items():
                encode = setting.apply(teacher)
                cosine = F.cosine_similarity(encode(batch).clip.float(), full).min()
                ours, _, ratio = paired(partial(encode, batch), partial(teacher, batch))
                lines.append(f"| `{name}` | {choice} | {4 / ours:.2f} | {ratio:.2f} | {float(cosine):.5f} |")
                print(lines[-1], flush=True)
    return lines


def memory() -> str:
    """Measure the peak memory of clips of 80 s, 300 s and 1200 s, each in a process of its own."""
    script = (
        "import sys; sys.path[:0] = ['.', 'experiments/benchmarks']\n"
        "import torch; from encoders import random_beats; from measure import peak_kib\n"
        "teacher = random_beats(2)\n"
        "teacher.embed(torch.randn(int(sys.argv[1]) * 16000) * 0.1, 16000)\n"
        "print(peak_kib() / 2**20)"
    )
    peaks = []
    for seconds in ("80", "300", "1200"):
        ended = subprocess.run([sys.executable, "-c", script, seconds], capture_output=True, text=True, cwd=ROOT)
        peaks.append(f"{float(ended.stdout):.2f} GiB at {seconds} s")
    return f"- Memory of one long clip through BEATs in windows of 10 s, peak of the process: {', '.join(peaks)}."


def main() -> None:
    sys.path.insert(0, str(ROOT))
    np.random.seed(0)
    rows = [*front_ends(), *attention()]
    lines = [
        *table(rows),
        "",
        "Cheaper arithmetic (`distill embed --arithmetic.precision ...`), batch of 4 clips of 10 s. The weights are",
        "random, so the cosines show the effect of the arithmetic alone. AST and BEATs have 6 layers.",
        "",
        *arithmetic(),
        "",
        memory(),
    ]
    write_section("Teachers", lines, "encoders")
