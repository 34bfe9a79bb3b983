"""Digests and fingerprints: which changes they see."""

from __future__ import annotations

import pytest
import torch

from distill.data.errors import StoreError
from distill.data.fingerprint import digest, refuse_difference, weights_digest


def test_a_digest_is_of_values_and_not_of_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert len({digest(value) for value in ({"a": 1}, {"a": "1"}, {"a": 2}, {"b": 1}, [1, 2], [2, 1])}) == 6


def test_a_digest_of_weights_sees_values_names_shapes_dtypes_and_saved_buffers() -> None:
    torch.manual_seed(0)
    network = torch.nn.BatchNorm1d(4)
    known = weights_digest(network)
    again = torch.nn.BatchNorm1d(4)
    again.load_state_dict(network.state_dict())
    assert weights_digest(again) == known
    again.running_mean[2] += 1e-7
    named = torch.nn.Sequential(network)
    shaped = torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 2, bias=False)
    for linear in shaped:
        torch.nn.init.zeros_(linear.weight)
    typed = torch.nn.Module(), torch.nn.Module()
    for module, dtype in zip(typed, (torch.int32, torch.float32), strict=True):
        module.register_buffer("zeros", torch.zeros(3, dtype=dtype))
    assert len({known, *map(weights_digest, [again, named, *shaped, *typed])}) == 7


def test_every_field_that_differs_is_named_with_both_values() -> None:
    refuse_difference("a store", {"dim": 3}, {"dim": 3})
    with pytest.raises(
        StoreError, match=r"a store.*dim is 3, not 4; dtype is 'x', not None; new is None, not 1"
    ) as error:
        refuse_difference("a store", {"dim": 3, "dtype": "x", "same": 0}, {"dim": 4, "new": 1, "same": 0})
    assert "same" not in str(error.value)
