"""Check that an encoder of a user fulfils the contract of `Encoder`, before hours are spent on its embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.batch import Embeddings
from distill.data.encoders.encoder import Encoder

_SECONDS = (1.0, 0.4)  # of the two clips
_TOLERANCE = 1e-3  # of the largest number: one of floating point is below, one of a wrong mask above
_CHANGED = "encode changes batch.waveform, which must stay as it is"


def check_contract(encoder: Encoder) -> list[str]:
    """Return the violations of the contract of `Encoder`, one line each. Without any, the list is empty.

    Two clips of noise, of 1 s and 0.4 s, are encoded in one padded batch and alone: three calls of the encoder. Shapes,
    numbers, frame times and masks are checked, and that padding changes nothing. The weights stay as they are.
    """
    lines = [*_hidden_networks(encoder)]
    lengths = torch.tensor([max(1, round(seconds * encoder.sample_rate)) for seconds in _SECONDS])
    noise = torch.randn(2, int(lengths[0]), generator=torch.Generator().manual_seed(0)) * 0.1
    clips = noise.masked_fill(~frame_mask(lengths, noise.shape[1]), 0)
    inputs = [(clips, lengths), *((clips[row : row + 1, :length], None) for row, length in enumerate(lengths.tolist()))]
    names = ["a padded batch of 1 s and 0.4 s", *(f"a clip of {seconds:g} s" for seconds in _SECONDS)]
    outputs = []
    for name, (waveform, valid) in zip(names, inputs, strict=True):
        given = waveform.clone()
        try:
            output = encoder.embed(given, encoder.sample_rate, valid)
        except Exception as error:  # any error of the user's code is a violation
            return [*lines, f"{name}: {type(error).__name__}: {error}"]
        if not isinstance(output, Embeddings):
            return [*lines, f"{name}: encode must return distill.Embeddings, not {type(output).__name__}"]
        if not given.equal(waveform) and _CHANGED not in lines:
            lines.append(_CHANGED)
        if shapes := [*_shapes(output, len(waveform), len(encoder.labels))]:
            return [*lines, *(f"{name}: {line}" for line in shapes)]
        lines += [f"{name}: {line}" for line in _values(output)]
        outputs.append(Embeddings(*(tensor.cpu() for tensor in output)))
    return lines or [*_padding(outputs[0], outputs[1:]), *_times(outputs[1])]


def _hidden_networks(encoder: Encoder) -> Iterator[str]:
    """Yield a line for each network in a list or dictionary of Python, which PyTorch does not find."""
    for name, value in vars(encoder).items():
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        if not name.startswith("_") and any(isinstance(member, nn.Module) for member in members):
            yield (
                f"{name}: a {type(value).__name__} with networks, which PyTorch neither finds nor moves; "
                "use torch.nn.ModuleList or ModuleDict"
            )


def _shapes(output: Embeddings, clips: int, labels: int) -> Iterator[str]:
    """Yield a line for each tensor of another shape or type than `Embeddings` states."""
    time = output.frame_times.shape[0] if output.frame_times.dim() == 1 else -1
    for name, tensor, expected in (
        ("clip", output.clip, (clips, None)),
        ("frames", output.frames, (clips, time, None)),
        ("frame_times", output.frame_times, (None,)),
        ("frame_mask", output.frame_mask, (clips, time)),
        ("logits", output.logits, (clips, labels)),
    ):
        fits = tensor.dim() == len(expected) and all(
            size == wanted for size, wanted in zip(tensor.shape, expected, strict=True) if wanted is not None
        )
        if not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in expected)
            yield f"{name} has shape {tuple(tensor.shape)}, not ({sizes})"
    if output.frame_mask.dtype != torch.bool:
        yield f"frame_mask has dtype {output.frame_mask.dtype}, not torch.bool"


def _values(output: Embeddings) -> Iterator[str]:
    """Yield a line for each tensor with impossible values."""
    for name, tensor in (
        ("clip", output.clip),
        ("frames", output.frames[output.frame_mask]),
        ("logits", output.logits),
    ):
        if not tensor.isfinite().all():
            yield f"{name} has numbers that are NaN or infinite"
    if not output.frame_mask.any(1).all():
        yield "frame_mask leaves a clip without a frame: at least one must be valid"
    if not (output.frame_times.diff() > 0).all():
        yield "frame_times must increase"


def _padding(together: Embeddings, alone: list[Embeddings]) -> Iterator[str]:
    """Yield a line for each output of a clip that a padded batch changes."""
    remedy = "leave out what lies after batch.lengths (distill.frame_mask), or use distill.by_length"
    for row, (seconds, single) in enumerate(zip(_SECONDS, alone, strict=True)):
        clip = f"a clip of {seconds:g} s, in a padded batch and alone"
        for name in ("clip", "frames", "logits"):
            if getattr(together, name).shape[-1] != getattr(single, name).shape[-1]:
                yield f"{clip}: the size of {name} depends on the batch"
                return
        inside = together.frame_mask[row]
        if int(inside.sum()) != int(single.frame_mask.sum()):
            yield f"{clip}: {int(inside.sum())} and {int(single.frame_mask.sum())} valid frames; {remedy}"
            continue
        for name, padded, expected in (
            ("clip", together.clip[row], single.clip[0]),
            ("frames", together.frames[row, inside], single.frames[0, single.frame_mask[0]]),
            ("logits", together.logits[row], single.logits[0]),
        ):
            difference, largest = _largest(padded - expected), _largest(expected)
            if difference > _TOLERANCE * largest + 1e-6:
                yield f"{clip}: {name} differs by {difference:.2g} (numbers are up to {largest:.2g}); {remedy}"
                break  # frames that differ also change their mean


def _times(output: Embeddings) -> Iterator[str]:
    """Yield a line if the valid frames of the clip of 1 s do not lie in it."""
    times = output.frame_times[output.frame_mask[0]]
    if len(times) < 2:
        return
    hop = float(times.diff().median())
    if times[0] < -hop or times[-1] > _SECONDS[0] + hop:
        yield (
            f"a clip of {_SECONDS[0]:g} s: its frames lie between {times[0]:g} and {times[-1]:g}; "
            "frame_times must be the centres of the frames in seconds"
        )


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
