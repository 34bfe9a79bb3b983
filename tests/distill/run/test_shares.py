"""Parts of a store: which shards they have, and who may write them at the same time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from distill.data.errors import UserError
from distill.run import shares
from distill.run.shares import ALL, Share, lock_share
from distill.training.world import World


@pytest.mark.parametrize("count", [0, 1, 5, 64])
@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (1, 4), (3, 1), (3, 2)])
def test_every_shard_belongs_to_one_process_of_one_part(count: int, parts: int, processes: int) -> None:
    dealt = [
        list(Share(part, parts).among(World(rank, processes)).shards(count))
        for part in range(parts)
        for rank in range(processes)
    ]
    assert sorted(number for shards in dealt for number in shards) == list(range(count))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_a_part_has_the_same_shards_with_any_number_of_processes() -> None:
    for processes in (1, 2, 5):
        ranks = [Share(1, 3).among(World(rank, processes)).shards(40) for rank in range(processes)]
        assert sorted(number for shards in ranks for number in shards) == list(range(1, 40, 3))


@pytest.mark.parametrize(("text", "share"), [("", ALL), ("0/1", ALL), ("3/64", Share(3, 64))])
def test_a_part_is_read(text: str, share: Share) -> None:
    assert Share.parse(text) == share


@pytest.mark.parametrize("text", ["3", "64/64", "-1/3", "1/0", "a/b", "1/2/3"])
def test_a_wrong_part_gets_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .*: must be a part and the number of parts, from 0/64 to 63/64"):
        Share.parse(text)


@pytest.mark.parametrize(
    ("held", "wanted", "is_free"),
    [
        ([Share(0, 3)], Share(1, 3), True),
        ([Share(0, 3), Share(2, 3)], Share(1, 3), True),
        ([Share(1, 3)], Share(1, 3), False),
        ([Share(0, 3)], Share(1, 4), False),
        ([Share(0, 3)], ALL, False),
        ([ALL], Share(0, 3), False),
        ([ALL], ALL, False),
        ([], ALL, True),
    ],
)
def test_two_writers_never_write_one_shard(
    held: list[Share], wanted: Share, is_free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "_PLAN_SECONDS", 0.1)
    for share in (Share(0, 3), Share(1, 4)):  # of earlier runs
        with lock_share(tmp_path, "distill embed", share):
            pass
    with ExitStack() as stack:
        for share in held:
            stack.enter_context(lock_share(tmp_path, f"embed {share.number}", share))
        if is_free:
            stack.enter_context(lock_share(tmp_path, "distill embed", wanted))
        else:
            with pytest.raises(UserError, match=r"is being written by embed \d+ \(process"):
                stack.enter_context(lock_share(tmp_path, "distill embed", wanted))
