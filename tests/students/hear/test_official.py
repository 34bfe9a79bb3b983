"""HEAR's published keys."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from distill.data.errors import UserError
from distill.students.hear.acoustic import AcousticSizes
from distill.students.hear.classifier import HearClassifier
from distill.students.hear.official import (
    acoustic_sizes,
    from_official_acoustic,
    from_official_blocks,
    read_submodule,
    submodule_state,
    to_official_acoustic,
    unused_keys,
)
from distill.students.hear.students import Hear, HearTokenizer
from tests.students.hear.golden import (
    OVERLAP,
    TINY,
)
from tests.students.hear.tiny import SIZES


def test_official_state_equals_the_official_file(classifier: HearClassifier, tokenizer: HearTokenizer) -> None:
    official = load_file(TINY / "hear.state_dict.safetensors")
    ours = HearClassifier(checkpoint=str(TINY / "hear.state_dict.safetensors"), overlap=OVERLAP).official_state()
    assert ours.keys() == official.keys()
    assert all(ours[key].equal(official[key]) for key in ours if not key.endswith(".fb"))
    filters = "preprocessor.mel_spectrogram.mel_scale.fb"
    torch.testing.assert_close(ours[filters], official[filters], atol=2e-5, rtol=0)
    framework = load_file(TINY / "tokenizer_framework.state_dict.safetensors")
    assert all(tensor.equal(framework[f"tokenizer.{key}"]) for key, tensor in tokenizer.official_state().items())


def test_our_keys_become_the_official_ones_and_come_back() -> None:
    ours = Hear(**SIZES).acoustic.state_dict()
    official = to_official_acoustic(ours)
    assert {key.partition(".")[0] for key in official} == {"feature_extractor", "contextual_encoder"}
    again = from_official_acoustic(official)
    assert again.keys() == ours.keys()
    assert all(again[key].equal(tensor) for key, tensor in ours.items())


def test_sizes_are_those_of_the_tensors() -> None:
    state = to_official_acoustic(Hear(**SIZES).acoustic.state_dict())
    assert acoustic_sizes(state) == AcousticSizes(hidden=16, intermediate=32, heads=2, layers=2, window=40)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(UserError, match=r"'layers\.0\.adapter\.weight' is not a weight of a HEAR block"):
        from_official_blocks({"layers.0.adapter.weight": torch.zeros(1)})


def test_a_submodule_is_found_by_the_first_prefix_that_fits() -> None:
    one, two = torch.zeros(1), torch.ones(1)
    state = {"a.x": one, "a.y": two, "b.x": two}
    assert submodule_state(state, ("c.", "a.", "b."), "x", "here") == {"x": one, "y": two}
    with pytest.raises(UserError, match=r"here: it has no 'c\.x' or 'x' \(its first key: 'a\.x'\)"):
        submodule_state(state, ("c.", ""), "x", "here")
    assert unused_keys(state, {"x": two}) == ["a.x"]


def test_without_a_file_there_is_no_submodule() -> None:
    assert read_submodule(None, ("",), "x") == (None, None)
