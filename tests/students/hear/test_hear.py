"""HEAR against the official code, or against the right behaviour where the official code is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.students.hear.classifier import HearClassifier, pool_statistics
from distill.students.hear.dropout import Dropout
from distill.students.hear.frontend import HearFrontEnd
from distill.students.hear.students import Hear, HearTokenizer
from distill.students.hear.transformer import RelativeAttention, columns_to_diagonals, diagonals_to_columns
from distill.students.saved import load_student, save_student
from tests.conftest import GOLDEN
from tests.students.hear.golden import (
    OVERLAP,
    TINY,
    assert_matches,
    inputs,
    official_weights,
    outputs,
    padded_batch,
    waveform,
)

SIZES = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 2, "window": 40, "overlap": 10, "dropout": 0.0}
TINY_OPTIONS: dict[str, dict[str, Any]] = {
    "hear": SIZES,
    "hear_classifier": {
        **SIZES, "classes": 3, "task_hidden": 12, "task_intermediate": 24, "head_hidden": 8, "positions": 400,
        "head_dropout": 0.0,
    },
    "hear_tokenizer": {**SIZES, "codes": 16},
}  # fmt: skip


def assert_close(found: Tensor, name: str, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found.detach(), outputs()[name].to(found.dtype), atol=atol, rtol=1e-4)


@pytest.fixture(scope="module")
def classifier() -> HearClassifier:
    file = str(TINY / "hear.state_dict.safetensors")
    return HearClassifier(checkpoint=file, overlap=OVERLAP, official=True).eval()


@pytest.fixture(scope="module")
def tokenizer() -> HearTokenizer:
    file = str(TINY / "tokenizer_framework.state_dict.safetensors")
    return HearTokenizer(checkpoint=file, overlap=OVERLAP, official=True).eval()


@pytest.mark.parametrize("name", ["short", "long"])
def test_front_end(name: str) -> None:
    spectra = HearFrontEnd(official=True)(waveform(f"wave_{name}"), inputs()[f"len_{name}"], power=True)
    bands = slice(None) if name == "short" else slice(None, None, 8)
    assert_close(spectra.mel[:, bands], "pre.short.mel" if name == "short" else "pre.long.mel_s8")
    assert_close(spectra.power[:, ::16], f"pre.{name}.power_s16", atol=1e-3)
    assert spectra.frames.equal(outputs()[f"pre.{name}.frames"].long())


def test_front_end_of_two_channels_and_of_44_khz() -> None:
    spectra = HearFrontEnd(official=True)(waveform("wave_stereo"), torch.tensor([3000, 3000]), power=True)
    assert_close(spectra.mel[:, ::4], "pre.stereo.mel_s4")
    assert_close(spectra.power[:, ::16], "pre.stereo.power_s16", atol=1e-3)
    wide = HearFrontEnd(44_100, 2048, official=True)
    spectra = wide(waveform("wave_short"), inputs()["len_short"], power=True)
    assert_close(spectra.mel[:, ::4], "pre.44k.mel_s4")
    assert_close(spectra.power[:, ::32], "pre.44k.power_s32", atol=1e-3)
    assert spectra.frames.equal(outputs()["pre.44k.frames"].long())


def test_frame_counts() -> None:
    counted = HearFrontEnd(official=True).frames(inputs()["frame_count.samples"])
    assert counted.equal(outputs()["frame_count.frames"].long())


def test_attention_and_block(classifier: HearClassifier) -> None:
    block, outside = classifier.acoustic.layers[0], ~inputs()["attn.mask"]
    assert_close(block.attention(inputs()["attn.x"], outside), "attn.out", atol=1e-5)
    assert_close(block(inputs()["attn.x"], outside), "block.out", atol=1e-5)


@pytest.mark.parametrize("name", ["short", "long"])
def test_acoustic_model(name: str, classifier: HearClassifier) -> None:
    student = Hear(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP, official=True).eval()
    batch = AudioBatch.of(waveform(f"wave_{name}"), 16_000, inputs()[f"len_{name}"])
    embeddings = student(batch)
    inside = embeddings.frame_mask
    assert inside.sum(1).equal(outputs()[f"ac.{name}.lengths"].long())
    expected = outputs()[f"ac.{name}.features"]
    torch.testing.assert_close(embeddings.frames[inside], expected[inside], atol=1e-4, rtol=1e-4)
    assert embeddings.frame_times[:2].tolist() == pytest.approx([0.005, 0.025])


@pytest.mark.parametrize(("name", "frames"), [("edge", [222, 217, 122]), ("t60", [120, 118]), ("t61", [122, 120])])
def test_lengths_near_a_whole_number_of_windows(name: str, frames: list[int], classifier: HearClassifier) -> None:
    mel = inputs()["ac.edge.mel"][: len(frames), :, : max(frames)]
    lengths = torch.tensor(frames) // 2
    found = classifier.acoustic(classifier.acoustic.features(mel), lengths)
    inside = torch.arange(found.shape[1]) < lengths.unsqueeze(1)
    torch.testing.assert_close(found[inside], outputs()[f"ac.{name}.features"][inside], atol=1e-5, rtol=1e-4)


def test_taper(classifier: HearClassifier) -> None:
    assert_close(classifier.acoustic.taper, "ac.window", atol=1e-7)


def test_tokenizer(tokenizer: HearTokenizer) -> None:
    batch = AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"])
    tokens = tokenizer.tokens(batch)
    logits = tokenizer.logits(tokens)
    inside = torch.arange(logits.shape[1]) < tokens.lengths.unsqueeze(1)
    torch.testing.assert_close(logits[inside], outputs()["tok.logits"][inside], atol=1e-4, rtol=1e-4)
    assert tokenizer.tokenize(batch)[0][inside].equal(outputs()["tok.argmax"][inside])
    assert tokens.lengths.equal(outputs()["tok.lengths"].long())


def test_mixture_task_model_and_head(classifier: HearClassifier) -> None:
    assert_close(classifier.mixture(inputs()["mix.h"], inputs()["mix.power"]), "mix.out", atol=1e-5)
    lengths = inputs()["task.lengths"].long()
    inside = torch.arange(33) < lengths.unsqueeze(1)
    found = classifier.task(inputs()["task.x"], lengths)
    torch.testing.assert_close(found[inside], outputs()["task.out"][inside], atol=1e-5, rtol=1e-4)
    pooled = pool_statistics(inputs()["task.x"], inside)
    assert_close(pooled, "head.pooled", atol=1e-5)
    assert_close(classifier.head(pooled), "head.logits", atol=1e-5)


@pytest.mark.parametrize("name", ["short", "long"])
def test_the_whole_model(name: str, classifier: HearClassifier) -> None:
    batch = AudioBatch.of(waveform(f"wave_{name}"), 16_000, inputs()[f"len_{name}"])
    embeddings = classifier(batch)
    assert_close(embeddings.logits, f"full.{name}.logits")
    if name == "long":
        assert_close(embeddings.clip, "full.long.pooled")
        return
    loss = F.cross_entropy(classifier(batch).logits, inputs()["labels"])
    assert_close(loss, "full.short.ce")
    loss.backward()
    gradients = {key: t for key, t in outputs().items() if key.startswith("full.grad_norm.")}
    copy = HearClassifier(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP)
    for ours, parameter in classifier.named_parameters():
        copy.get_parameter(ours).data = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
    for key, gradient in copy.official_state().items():
        if f"full.grad_norm.{key}" in gradients:
            expected = gradients[f"full.grad_norm.{key}"]
            torch.testing.assert_close(gradient.norm(), expected.float(), atol=2e-6, rtol=1e-3)
    assert len(gradients) > 60


def test_the_published_sizes() -> None:
    """Test the whole model at its default sizes, with regenerated weights and a padded batch of up to 10 s."""
    keys = json.loads((GOLDEN / "hear" / "default" / "info.json").read_text())["keys"]["hear"]
    state = official_weights(keys, rename=("acoustic_model.", "encoder."))
    model = HearClassifier(classes=50, official=True).eval()
    assert model.parameter_count() == 15_097_394
    model._load(state, whole=True, where="golden")
    wave, lengths = padded_batch([1000, 1001, 1002], [160_000, 117_000, 51_234])
    with torch.no_grad():
        spectra = model.front_end(wave, lengths, power=True)
        assert_matches("pre.mel", spectra.mel, 1e-3)
        logits = model(AudioBatch.of(wave, 16_000, lengths)).logits
    torch.testing.assert_close(logits, outputs("default")["logits"], atol=1e-4, rtol=1e-4)
    alone = model.embed(wave[2, :51_234], 16_000).logits[0]
    torch.testing.assert_close(alone, outputs("default")["logits_row2_alone"].flatten(), atol=1e-4, rtol=1e-4)


def test_official_state_equals_the_official_file(classifier: HearClassifier, tokenizer: HearTokenizer) -> None:
    official = load_file(TINY / "hear.state_dict.safetensors")
    ours = HearClassifier(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP).official_state()
    assert ours.keys() == {key for key in official if not key.startswith("preprocessor.")}
    assert all(ours[key].equal(official[key]) for key in ours)
    framework = load_file(TINY / "tokenizer_framework.state_dict.safetensors")
    assert all(tensor.equal(framework[f"tokenizer.{key}"]) for key, tensor in tokenizer.official_state().items())


def test_provenance_names_the_file_and_the_unused_keys(tokenizer: HearTokenizer) -> None:
    assert tokenizer.provenance is not None
    assert tokenizer.provenance.file.endswith("tokenizer_framework.state_dict.safetensors")
    assert all(not key.startswith("tokenizer.") for key in tokenizer.provenance.dropped)
    assert "vector_quantizer.code_book" in tokenizer.provenance.dropped


@pytest.mark.parametrize("queries", [1, 3, 7])
def test_diagonals(queries: int) -> None:
    time = 7
    band = torch.randn(2, queries, time + queries)
    columns = diagonals_to_columns(band, time)
    for i in range(queries):
        for j in range(time):
            assert columns[:, i, j].equal(band[:, i, j - i + queries])
    back = columns_to_diagonals(columns)
    expected = torch.zeros_like(band)
    for i in range(queries):
        expected[:, i, queries - i : queries - i + time] = columns[:, i]
    assert back.equal(expected)


@pytest.mark.parametrize("time", [1, 7, 250])
def test_attention_equals_the_slow_formula(time: int) -> None:
    attention = RelativeAttention(8, 2, reach=260, dropout=0.0)
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    tokens = torch.randn(2, time, 8)
    outside = torch.arange(time) >= torch.tensor([[time], [max(1, time - 3)]])
    query, key, value = attention.qkv(tokens).chunk(3, dim=2)
    distance = torch.arange(time) - torch.arange(time).unsqueeze(1) + 260
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = (query[..., part] + attention.content_bias[head]) @ key[..., part].transpose(1, 2)
        positions = attention.position_keys[distance]
        scores = scores + torch.einsum("bid,ijd->bij", query[..., part] + attention.position_bias[head], positions)
        weights = (scores / 2).masked_fill(outside.unsqueeze(1), -1e30).softmax(2)
        heads.append(
            weights @ value[..., part] + torch.einsum("bij,ijd->bid", weights, attention.position_values[distance])
        )
    expected = attention.out(torch.cat(heads, dim=2))
    torch.testing.assert_close(attention(tokens, outside), expected, atol=1e-5, rtol=1e-4)
    slow = torch.autograd.grad(expected.square().sum(), attention.position_keys, retain_graph=True)[0]
    fast = torch.autograd.grad(attention(tokens, outside).square().sum(), attention.position_keys)[0]
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_padding_has_an_effect_in_the_official_code_only() -> None:
    wave, lengths = padded_batch([1, 2], [16_000, 5_000])
    for official, limit in ((False, 1e-4), (True, None)):
        student = HearClassifier(
            checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP, official=official
        )
        together = student.embed(wave, 16_000, lengths)
        alone = student.embed(wave[1, :5000], 16_000)
        difference = float((together.logits[1] - alone.logits[0]).detach().abs().max())
        assert difference < limit if limit else difference > 1e-2


def test_a_constant_signal_has_no_power() -> None:
    lengths = torch.tensor([8000])
    silent = torch.full((1, 8000), 0.1)
    assert HearFrontEnd()(silent, lengths, power=True).power.abs().max() < 0.01
    assert HearFrontEnd(official=True)(silent, lengths, power=True).power.abs().max() > 0.05


@pytest.mark.parametrize("samples", range(44_520, 44_560, 4))
def test_mel_and_power_at_44_khz_have_equal_numbers_of_frames(samples: int) -> None:
    spectra = HearFrontEnd(44_100, 2048)(torch.randn(1, samples), torch.tensor([samples]), power=True)
    assert spectra.mel.shape[2] == spectra.power.shape[2]


def test_tokens_do_not_change_the_lengths_of_the_batch(tokenizer: HearTokenizer) -> None:
    batch = AudioBatch.of(waveform("wave_short"), 16_000, inputs()["len_short"].clone())
    tokenizer.tokens(batch)
    assert batch.lengths.equal(inputs()["len_short"])


def test_a_classifier_starts_from_an_acoustic_model(tmp_path: Path) -> None:
    hear = distill.create_student("hear", hidden=16, intermediate=32, heads=2, layers=1, window=40, overlap=10)
    save_student(hear, tmp_path / "run" / "student", "card")
    classifier = distill.create_student(
        "hear_classifier", classes=3, acoustic=str(tmp_path / "run"), task_hidden=16, overlap=10
    )
    assert all(
        tensor.equal(classifier.acoustic.state_dict()[key]) for key, tensor in hear.acoustic.state_dict().items()
    )
    save_student(classifier, tmp_path / "whole" / "student", "card")
    (tmp_path / "run" / "student" / "model.safetensors").unlink()
    assert load_student(tmp_path / "whole").parameter_count() == classifier.parameter_count()
    save_file(hear.official_state(), tmp_path / "acoustic_model_weight.safetensors")
    again = Hear(checkpoint=str(tmp_path / "acoustic_model_weight.safetensors"), overlap=10)
    assert all(tensor.equal(again.state_dict()[key]) for key, tensor in hear.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hear", {"hidden": 10, "heads": 3}, "must be a multiple of --student.heads"),
        ("hear", {"overlap": 200}, "half of the window"),
        ("hear", {"checkpoint": str(GOLDEN / "ssast" / "ssast_tiny_frame.pth")}, "feature_extractor.conv.weight"),
        ("hear_classifier", {}, "classes: must be at least 1"),
        (
            "hear_classifier",
            {"checkpoint": str(TINY / "pretrain_framework.state_dict.safetensors")},
            "not the whole of HEAR",
        ),
        ("hear_tokenizer", {"checkpoint": str(TINY / "hear.state_dict.safetensors")}, "tokenizer"),
    ],
)
def test_invalid_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        distill.create_student(name, **options)


def test_the_explicit_gradient_equals_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = RelativeAttention(8, 2, reach=150, dropout=0.3).double().train()
    for bias in (attention.content_bias, attention.position_bias):
        torch.nn.init.normal_(bias)
    tokens = torch.randn(2, 130, 8, dtype=torch.float64, requires_grad=True)
    outside = torch.arange(130) >= torch.tensor([[130], [90]])
    results = []
    for explicit in (True, False):
        torch.manual_seed(5)
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device, plain=not explicit: plain)
        out = attention(tokens, outside)
        results.append([out, *torch.autograd.grad(out.square().sum(), [tokens, *attention.parameters()])])
    for ours, autograds in zip(*results, strict=True):
        torch.testing.assert_close(ours, autograds, atol=1e-9, rtol=1e-7)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout = Dropout(0.1).train()
    values = torch.ones(1_000_003)
    dropped = dropout(values)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.002)
    assert dropout.eval()(values) is values or dropout(values).equal(values)
