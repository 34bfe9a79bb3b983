"""The shards of a store that a process embeds: all, or a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from distill.data.errors import UserError
from distill.data.files import lock
from distill.training.world import World

_PARTS = ".parts"  # folder of the locks of parts, in the folder of a store
_PLAN_SECONDS = 600.0  # time to wait for other parts that read or write the list of clips


@dataclass(frozen=True)
class Share:
    """A part of the shards: each `count`-th one, from `number` on.

    It depends on the number of shards alone. So a part can be embedded again, by any number of processes.

    Args:
        number: Number of the part, from 0.
        count: Number of parts.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return the part that a text like "3/64" names. Empty: all shards.

        Raises:
            UserError: it names no part.
        """
        number, _, count = (text or "0/1").partition("/")
        if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            raise UserError(f"--shard {text}: must be a part and the number of parts, from 0/64 to 63/64")
        return cls(int(number), int(count))

    @property
    def is_part(self) -> bool:
        """Whether there are other parts."""
        return self.count > 1

    def among(self, world: World) -> Share:
        """Return the part of this process, if several processes share this part."""
        return Share(world.rank * self.count + self.number, world.size * self.count)

    def shards(self, count: int) -> range:
        """Return the shards of this part, of a store of `count` shards."""
        return range(self.number, count, self.count)


ALL = Share()


@contextmanager
def lock_share(folder: Path, task: str, share: Share = ALL) -> Iterator[None]:
    """Lock a store, or a part of it. Other processes may hold other parts of the same number of parts.

    Args:
        folder: Folder of the store, created if it does not exist.
        task: Name of the command, for the message that other processes print.
        share: Part of the store.

    Raises:
        UserError: another process holds the store or this part.
    """
    with ExitStack() as whole, ExitStack() as part:
        whole.enter_context(lock(folder, task, _PLAN_SECONDS if share.is_part else 0.0))
        for other in sorted((folder / _PARTS).glob("*_of_*")):
            if not share.is_part or not other.name.endswith(f"_of_{share.count}"):
                with lock(other, task):
                    pass
        if share.is_part:
            part.enter_context(lock(folder / _PARTS / f"{share.number}_of_{share.count}", task))
            whole.close()
        yield


def planning(folder: Path, share: Share) -> AbstractContextManager[None]:
    """Return a context in which the list of clips can be read and extended. Other parts wait meanwhile."""
    return lock(folder, "distill embed --shard", _PLAN_SECONDS) if share.is_part else nullcontext()
