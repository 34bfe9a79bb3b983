"""HEAR's second stage against the official code, as published and as intended."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from distill.objectives.masked import MaskedTokenPrediction
from distill.objectives.parts.masking import official_mask
from distill.students.hear.official import to_official_acoustic
from distill.students.hear.students import Hear, HearTokenizer
from tests.students.hear.golden import OVERLAP, TINY, assert_gradients, inputs, outputs, short_batch


@pytest.fixture
def stage2() -> MaskedTokenPrediction:
    file = TINY / "pretrain_framework.state_dict.safetensors"
    student = Hear(checkpoint=str(file), overlap=OVERLAP, official=True)
    tokenizer = HearTokenizer(checkpoint=str(file), overlap=OVERLAP, official=True)
    objective = MaskedTokenPrediction(student, tokenizer)
    state = load_file(file)
    objective.to_codes.load_state_dict({name: state[f"out_linear.{name}"] for name in ("weight", "bias")})
    return objective.eval()


def test_stage_two_equals_the_official_code_as_it_was_meant(stage2: MaskedTokenPrediction) -> None:
    tokens = stage2.student.tokens(short_batch())
    assert tokens.lengths.equal(outputs()["mam.lengths"].long())
    torch.testing.assert_close(tokens.features.detach(), outputs()["mam.features"], atol=1e-4, rtol=1e-4)
    hidden = inputs()["mam.mask"]
    assert stage2.tokenizer.tokenize(short_batch())[0][hidden].equal(outputs()["mam.labels"][hidden])
    loss = stage2.score(short_batch(), tokens, hidden)["masked_tokens"]
    torch.testing.assert_close(loss.detach(), outputs()["mam.intended.loss"], atol=1e-5, rtol=1e-4)
    loss.backward()
    acoustic = {name: p.grad for name, p in stage2.student.acoustic.named_parameters() if p.grad is not None}
    found = {f"encoder.{key}": tensor for key, tensor in to_official_acoustic(acoustic).items()}
    found |= {f"out_linear.{name}": p.grad for name, p in stage2.to_codes.named_parameters()}
    assert_gradients(found, "mam.intended.grad.", at_least=40)


def test_stage_two_equals_the_official_code_as_it_is(stage2: MaskedTokenPrediction) -> None:
    stage2.official = True
    tokens = stage2.student.tokens(short_batch())
    tokens = tokens._replace(lengths=tokens.lengths // 2, host_lengths=tokens.lengths // 2)
    hidden = official_mask(inputs()["mam.official.noise"], tokens.lengths, 0.4)
    assert hidden.equal(outputs()["mam.official.mask"])
    loss = stage2.score(short_batch(), tokens, hidden)["masked_tokens"]
    torch.testing.assert_close(loss.detach(), outputs()["mam.official.loss"], atol=1e-5, rtol=1e-4)
    loss.backward()
    assert stage2.student.acoustic.conv.weight.grad is None


class TestWhatTheOfficialCodeGotWrong:
    """Each of these fails with the official behaviour."""

    def test_the_convolution_learns(self, stage2: MaskedTokenPrediction) -> None:
        stage2(short_batch())["masked_tokens"].backward()
        assert stage2.student.acoustic.conv.weight.grad.abs().sum() > 0

    def test_labels_do_not_change_under_training_mode(self, stage2: MaskedTokenPrediction) -> None:
        before = stage2.tokenizer.tokenize(short_batch())[0]
        stage2.train()
        assert stage2.tokenizer.tokenize(short_batch())[0].equal(before)
        trained = {id(parameter) for parameter in stage2.parameters()}
        assert not any(id(parameter) in trained for parameter in stage2.tokenizer.parameters())
        assert not any(module.training for module in stage2.tokenizer.modules())

    def test_the_second_half_of_a_clip_is_heard(self, stage2: MaskedTokenPrediction) -> None:
        tokens = stage2.student.tokens(short_batch())
        assert tokens.lengths.equal((inputs()["len_short"] // 160 + 1) // 2)
        assert short_batch().lengths.equal(inputs()["len_short"])
