"""Embeddings on their way to the CPU."""

from __future__ import annotations

import pytest
import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.run.filling import embed_batch
from distill.run.transfer import CLIP, FRAMES, LOGITS, Transfer
from tests.pretend_device import DEVICE, PretendDevice


def embeddings(device: torch.device) -> Embeddings:
    values = torch.arange(24.0).view(2, 3, 4).to(device, torch.float16, non_blocking=True)
    mask = torch.tensor([[True, True, True], [True, False, False]]).to(device, non_blocking=True)
    times = torch.tensor([0.1, 0.2, 0.3]).to(device, non_blocking=True)
    return Embeddings(values[:, 0], values, times, mask, values[:, 1, :2])


@pytest.mark.parametrize("fields", [CLIP, FRAMES, LOGITS])
def test_what_is_stored_is_copied_at_once(fields: tuple[str, ...]) -> None:
    expected = Transfer(embeddings(torch.device("cpu")), fields).get()
    with PretendDevice() as device:
        found = Transfer(embeddings(DEVICE), fields).get()
        assert device.to_host == 1
        assert sum(device.waits.values()) == 1
    for name in Embeddings._fields:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.device.type, ours.dtype) == ("cpu", theirs.dtype), name
        assert ours.equal(theirs), name
        assert (ours.numel() > 0) == (name in fields)


def test_a_batch_is_embedded_with_one_copy_of_what_is_stored() -> None:
    batch = AudioBatch.of(torch.randn(2, 800), 16_000)
    with PretendDevice() as device:
        # In inference mode, torch hands whole composite calls to the mode, which could not be counted.
        embed = embed_batch.__wrapped__  # type: ignore[attr-defined]
        found = embed(lambda moved: Embeddings.of_clip(moved.waveform * 2), batch, DEVICE, CLIP).get()
        assert device.to_host == 1
        assert device.to_device == 3  # waveform, lengths and labels
    assert found.clip.equal(batch.waveform * 2)
