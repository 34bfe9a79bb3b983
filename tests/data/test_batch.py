from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.data.audio.sinc import resampled_length
from distill.data.batch import AudioBatch, Clip, Embeddings, collate


def test_resampling_a_padded_batch_equals_each_clip_alone() -> None:
    waveform = torch.randn(3, 4410)
    lengths = torch.tensor([4410, 3000, 777])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    together = AudioBatch.of(waveform, 44_100, lengths).resample(16_000)
    for row, length in enumerate(lengths.tolist()):
        alone = AudioBatch.of(waveform[row, :length], 44_100).resample(16_000)
        samples = resampled_length(length, 44_100, 16_000)
        assert together.lengths[row] == alone.lengths[0] == alone.waveform.shape[1] == samples
        torch.testing.assert_close(together.waveform[row, :samples], alone.waveform[0], atol=1e-6, rtol=0)
        assert together.waveform[row, samples:].abs().sum() == 0


def test_resampling_equals_golden(golden) -> None:

    stored = np.load(golden / "ssondo" / "frontend.npz")
    batch = AudioBatch.of(torch.from_numpy(stored["resample_in_16k"]), 16_000).resample(32_000)
    np.testing.assert_allclose(batch.waveform[0].numpy(), stored["resample_out_32k"], atol=1e-6)


def test_a_batch_is_not_changed_by_resampling() -> None:
    batch = AudioBatch.of(torch.randn(2, 1000), 16_000)
    before = batch.waveform.clone(), batch.lengths.clone()
    batch.resample(8_000)
    assert batch.waveform.equal(before[0])
    assert batch.lengths.equal(before[1])


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((0, 100), None, "no clips"),
        ((16_000, 2), None, "channels"),
        ((2, 100), [100, 0], "1 to 100"),
        ((2, 100), [100, 101], "1 to 100"),
    ],
)
def test_an_impossible_batch_is_refused(shape: tuple[int, int], lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioBatch.of(torch.zeros(shape), 16_000, None if lengths is None else torch.tensor(lengths))


def test_samples_after_the_end_of_a_clip_change_nothing() -> None:
    noise = torch.randn(2, 1_000)
    batch = AudioBatch.of(noise, 22_050, [1_000, 400])  # type: ignore[arg-type]
    assert batch.lengths.tolist() == [1_000, 400]
    alone = AudioBatch.of(noise[1:, :400], 22_050).resample(48_000)
    padded = batch.resample(48_000)
    torch.testing.assert_close(padded.waveform[1:, : alone.waveform.shape[1]], alone.waveform)


def test_a_sample_rate_is_a_whole_number_of_python_or_numpy() -> None:
    assert AudioBatch.of(torch.zeros(1, 10), np.int64(8_000)).sample_rate == 8_000  # type: ignore[arg-type]
    for rate in (True, 8_000.0, 0):
        with pytest.raises(ValueError, match="whole number of Hz"):
            AudioBatch.of(torch.zeros(1, 10), rate)  # type: ignore[arg-type]


def test_mixed_clips_have_mixed_samples_and_labels_and_the_longer_length() -> None:
    waveform = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 0.0, 0.0], [100.0, 100.0, 100.0, 0.0]])
    batch = AudioBatch.of(waveform, 8_000, torch.tensor([4, 2, 3]))
    batch = replace(batch, labels=torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    mixed = batch.mix(torch.tensor([1, 2, 2]), torch.tensor([0.75, 0.5, 0.9]))
    expected = torch.tensor([[3.25, 6.5, 2.25, 3.0], [55.0, 60.0, 50.0, 0.0], [100.0, 100.0, 100.0, 0.0]])
    torch.testing.assert_close(mixed.waveform, expected)
    torch.testing.assert_close(mixed.labels, torch.tensor([[0.75, 0.25], [0.5, 1.0], [1.0, 1.0]]))
    assert mixed.lengths.tolist() == [4, 3, 3]
    assert mixed.ids == batch.ids


def test_a_clip_with_a_partner_is_mixed_at_the_rate_of_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.rand(count, generator=generator) - 0.5 for count in (800, 3_000)]
    labels = torch.eye(2)
    partner = Clip("b", noise[1], 16_000, labels[1])
    clips = [Clip("a", noise[0], 8_000, labels[0], partner, 0.75), partner]
    found = collate(clips, 16_000)
    expected = collate([clips[0]._replace(partner=None), partner], 16_000).mix(
        torch.tensor([1, 1]), torch.tensor([0.75, 1.0])
    )
    torch.testing.assert_close(found.waveform, expected.waveform, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.labels, expected.labels)
    assert found.lengths.tolist() == expected.lengths.tolist() == [3_000, 3_000]
    assert found.ids == ("a", "b")
    shorter = collate([clips[1]._replace(partner=clips[0]._replace(partner=None), share=0.5)], 16_000)
    assert shorter.lengths.tolist() == [3_000]
    torch.testing.assert_close(shorter.waveform[0, 1_600:], noise[1][1_600:] / 2)


def test_mixed_embeddings_are_valid_where_both_clips_have_frames() -> None:
    frames = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 0.0], [100.0, 0.0, 0.0]]).unsqueeze(2)
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    clip = torch.tensor([[1.0], [10.0], [100.0]])
    embeddings = Embeddings.of_frames(frames, torch.arange(3.0), mask, clip)
    mixed = embeddings.mix(torch.tensor([1, 0, 1]), torch.tensor([0.75, 0.5, 0.9]))
    torch.testing.assert_close(mixed.clip, torch.tensor([[3.25], [5.5], [91.0]]))
    torch.testing.assert_close(mixed.frames[:, 0], torch.tensor([[3.25], [5.5], [91.0]]))
    torch.testing.assert_close(mixed.frames[:2, 1], torch.tensor([[6.5], [11.0]]))
    # The mixture contains the end of the longer clip, but only one of the two targets has frames there.
    assert mixed.frame_mask.tolist() == [[True, True, False], [True, True, False], [True, False, False]]
