"""The loader that decodes in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from distill.data.dataset import ClipDataset, Crop, Loaded
from distill.data.manifest import Manifest
from distill.data.module import InOrder, ReadAhead, loader
from distill.data.sampling import Draws
from distill.data.store import SetAside


class Counted(ClipDataset):
    """Batches known by their first row; says when the second is decoded, and fails at the one that it is told."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__(Manifest(Path(), ()), 16_000, Crop())
        self.second, self.threads, self.fails_at = threading.Event(), set[int](), fails_at

    def __getitems__(self, batch: Draws) -> Loaded:
        if batch.rows[0] == self.fails_at:
            raise ValueError("no such row")
        if batch.rows[0] == 4:
            self.second.set()
        self.threads.add(torch.get_num_threads())
        return Loaded(None, (SetAside(str(batch.rows[0]), "missing", ""),))


def batches(clips: Counted) -> Iterator[Loaded]:
    return iter(loader(clips, InOrder(10, 4), workers=0))


def test_batches_come_in_order_and_once() -> None:
    assert [loaded.set_aside[0].id for loaded in batches(Counted())] == ["0", "4", "8"]


def test_the_next_batch_is_decoded_while_one_is_used() -> None:
    clips = Counted()
    next(batches(clips))
    assert clips.second.wait(timeout=10)


def test_decoding_takes_one_thread_and_leaves_the_others_to_the_encoder() -> None:
    clips, before = Counted(), torch.get_num_threads()
    list(batches(clips))
    assert clips.threads == {1}
    assert torch.get_num_threads() == before


def test_an_error_of_the_thread_is_raised_where_its_batch_was_wanted() -> None:
    following = batches(Counted(fails_at=4))
    assert next(following).set_aside[0].id == "0"
    with pytest.raises(ValueError, match="no such row"):
        next(following)


def test_processes_decode_for_themselves() -> None:
    assert not isinstance(loader(Counted(), InOrder(10, 4), workers=1), ReadAhead)
