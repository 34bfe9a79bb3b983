"""AudioSet's classes, and the common order of logits."""

from __future__ import annotations

import pytest
import torch

from distill.data.encoders.audioset import classes, columns_of, in_mid_order


def test_the_527_classes_keep_the_order_of_the_published_list() -> None:
    assert len(classes()) == 527
    assert next(iter(classes().items())) == ("/m/09x0r", "Speech")
    assert classes()["/m/04rlf"] == "Music"


def test_logits_are_brought_into_ascending_order_of_mids() -> None:
    labels, index = in_mid_order(["/t/2", "/m/3", "/g/1"])
    assert labels == ("/g/1", "/m/3", "/t/2")
    assert torch.tensor([20.0, 30.0, 10.0])[index].tolist() == [10.0, 30.0, 20.0]


def test_other_labels_keep_their_order() -> None:
    labels, index = in_mid_order(["dog", "cat", "/m/1"])
    assert (labels, index.tolist()) == (("dog", "cat", "/m/1"), [0, 1, 2])


def test_as_many_classes_as_audioset_with_other_labels_give_a_warning() -> None:
    with pytest.warns(UserWarning, match="527 classes as in AudioSet, but other labels, 'class0' first"):
        in_mid_order([f"class{number}" for number in range(527)])


def test_a_head_without_labels_has_the_published_order_or_numbers() -> None:
    labels, index = columns_of(527)
    assert labels == tuple(sorted(classes()))
    assert index[labels.index("/m/09x0r")] == 0  # Speech is the first of the list
    assert columns_of(3)[0] == ("0", "1", "2")
