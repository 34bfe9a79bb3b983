"""Time EAT: encoding visible patches against all patches, and a step against the official order of operations."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from measure import Row, paired, table, write_section
from torch import Tensor
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.objectives.parts.masking import GridMask
from distill.objectives.utterance_frame import UtteranceFrame
from distill.students.patch_transformer.patches import PATCH
from distill.students.patch_transformer.student import PatchTransformer

CLIPS, CLONES = 4, 16
SIZES = {"hidden": 192, "layers": 6, "heads": 6}
TINY = {"hidden": 96, "layers": 4, "heads": 4}


def masked_against_all() -> Row:
    student = PatchTransformer(**SIZES, frames=1024).train()
    objective = UtteranceFrame(student, {}, clones=CLONES)
    spectrogram = torch.randn(CLIPS, 1024, 128)
    hidden = GridMask().draw(CLIPS * CLONES, 64, 8)

    def ours() -> None:
        objective.encode_visible(spectrogram, hidden).encoded.tokens.square().mean().backward()

    def rival() -> None:
        tokens = student.embed_patches(spectrogram).repeat_interleave(CLONES, 0)
        student.contextual(tokens).tokens.square().mean().backward()

    taken, theirs, ratio = paired(ours, rival)
    case = f"student step, {CLIPS} clips of 10 s, {CLONES} clones, 80 % masked"
    return Row(case, taken, theirs, 3.0, "all patches encoded", ratio)


def official_masks(clips: int, clones: int, columns: int, rows: int) -> Tensor:
    """Draw masks in the order of EAT's generator: mask by mask, block by block, cell by cell, in NumPy on the CPU."""
    patches, masks = columns * rows, []
    target, count = int(patches * 0.2 + 1e-9), int(patches * 0.27 / 25)
    for _ in range(clips * clones):
        grid = np.zeros((columns, rows), dtype=bool)
        for centre in np.random.randint(patches, size=max(1, count)):
            column, row = divmod(int(centre), rows)
            for dx in range(-2, 3):
                for dy in range(-2, 3):
                    grid[min(max(column + dx, 0), columns - 1), min(max(row + dy, 0), rows - 1)] = True
        flat = grid.reshape(-1)
        marked, free = np.flatnonzero(flat), np.flatnonzero(~flat)
        if len(marked) > target:
            flat[np.random.choice(marked, len(marked) - target, replace=False)] = False
        elif len(marked) < target:
            flat[np.random.choice(free, target - len(marked), replace=False)] = True
        masks.append(torch.from_numpy(~flat))
    return torch.stack(masks)


def literal_blocks(student: PatchTransformer, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Compute attention as published: scores, softmax in float32, product."""
    x = student.norm(torch.cat([student.first.expand(len(tokens), -1, -1), tokens], 1))
    made = []
    for block in student.blocks:
        heads = block.attn.heads
        q, k, v = block.attn.qkv(x).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
        attended = (scores.softmax(3, dtype=torch.float32) @ v).transpose(1, 2).flatten(2)
        x = block.norm1(x + block.attn.proj(attended))
        branch = block.mlp(x)
        made.append(branch)
        x = block.norm2(x + branch)
    return x, made


def literal_step(objective: UtteranceFrame, spectrogram: Tensor, hidden: Tensor) -> Tensor:
    """Repeat for all clones, sort the mask, gather, encode, restore the order; sum the losses of all elements."""
    student, slow = objective.student, objective.slow.network
    tokens = student.embed_patches(spectrogram).repeat_interleave(objective.clones, 0)
    order = hidden.float().argsort(1)
    restore = order.argsort(1)
    kept = order[:, : int((~hidden[0]).sum())]
    wide = tokens.shape[2]
    x, _ = literal_blocks(student, tokens.gather(1, kept.unsqueeze(2).expand(-1, -1, wide)))
    noise = torch.randn(len(x), hidden.shape[1] - kept.shape[1], wide) * objective.noise
    filled = torch.cat([x[:, 1:], noise], 1).gather(1, restore.unsqueeze(2).expand(-1, -1, wide))
    predicted = objective.decoder(filled, spectrogram.shape[1] // PATCH, student.rows)
    with torch.no_grad():
        _, branches = literal_blocks(slow, slow.embed_patches(spectrogram))
        normed = [F.instance_norm(b[:, 1:].float().transpose(1, 2)).transpose(1, 2) for b in branches]
        target = F.layer_norm(sum(normed) / len(normed), (wide,))
    targets = target.repeat_interleave(objective.clones, 0)
    frame = ((predicted - targets) ** 2 * wide**-0.5)[hidden]
    utterance = (x[:, 0] - targets.mean(1)) ** 2 * wide**-0.5
    return frame.sum() / len(frame) + utterance.sum(1).mean()


def step_against_official() -> tuple[Row, list[str]]:
    torch.manual_seed(0)
    objective = UtteranceFrame(PatchTransformer(**TINY, frames=1024).train(), {}, clones=CLONES, noise=0.0)
    batch = AudioBatch.of(torch.randn(CLIPS, 160_000) * 0.1, 16_000)
    spectrogram, _ = objective.student.spectrogram(batch)
    hidden = official_masks(CLIPS, CLONES, 64, 8)
    seen, target = objective.encode_visible(spectrogram, hidden), objective.target(spectrogram)
    filled = objective.fill_hidden(seen.encoded.tokens[:, 1:], hidden, seen.visible)
    found = objective.self_distillation(objective.decoder(filled, 64, 8), seen.encoded.tokens[:, 0], target, hidden)
    torch.testing.assert_close(
        objective.total(found), literal_step(objective, spectrogram, hidden), rtol=1e-4, atol=1e-4
    )
    learned = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, 1e-5)
    spent: dict[str, list[float]] = {}

    def ours() -> None:
        optimizer.zero_grad()
        objective.total(objective(batch)).backward()
        optimizer.step()
        objective.after_step(1)

    def rival() -> None:
        optimizer.zero_grad()
        mel, _ = objective.student.spectrogram(batch)
        literal_step(objective, mel, official_masks(CLIPS, CLONES, 64, 8)).backward()
        optimizer.step()
        with torch.no_grad():
            for (name, slow), fast in zip(
                objective.slow.network.named_parameters(), objective.student.parameters(), strict=True
            ):
                assert name
                slow.mul_(0.9998).add_(fast.float() * 0.0002)

    taken, theirs, ratio = paired(ours, rival)
    for _ in range(3):
        for name, seconds in profile(objective, batch).items():
            spent.setdefault(name, []).append(seconds)
    total = sum(statistics.median(values) for values in spent.values())
    shares = ", ".join(f"{name} {statistics.median(values) / total:.0%}" for name, values in spent.items())
    row = Row(f"training step of EAT tiny, {CLIPS} clips", taken, theirs, 1.0, "official order of operations", ratio)
    return row, [f"- share of a step's time: {shares}", "- losses of both are equal to 1e-4 on the same masks"]


def profile(objective: UtteranceFrame, batch: AudioBatch) -> dict[str, float]:
    """Return the seconds of each part of a step."""
    times: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name], last = now - last, now

    spectrogram, _ = objective.student.spectrogram(batch)
    lap("front-end")
    hidden = objective.mask.draw(CLIPS * CLONES, 64, 8)
    lap("masks")
    seen = objective.encode_visible(spectrogram, hidden)
    lap("student")
    target = objective.target(spectrogram)
    lap("slow copy")
    filled = objective.fill_hidden(seen.encoded.tokens[:, 1:], hidden, seen.visible)
    predicted = objective.decoder(filled, 64, 8)
    lap("decoder")
    losses = objective.self_distillation(predicted, seen.encoded.tokens[:, 0], target, hidden)
    lap("losses")
    objective.total(losses).backward()
    lap("backward")
    return times


def main() -> None:
    first = masked_against_all()
    second, notes = step_against_official()
    write_section("Masked training", [*table([first, second]), "", *notes], "masked_training")
