"""A progress bar for long work on clips, where tqdm is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def with_progress(
    items: Iterable[T], task: str, unit: str, *, delay: float = 0.0, leave: bool = True, total: int | None = None
) -> Iterable[T]:
    """Return the items, with a progress bar while they are taken.

    An exported student needs few packages, and tqdm is not one of them: without it, there is no bar.

    Args:
        items: The items.
        task: Name of the work. Empty: there is no bar.
        unit: Name of an item.
        delay: Seconds after which the bar appears.
        leave: Whether the bar stays at the end.
        total: Number of the items. None: their length.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    return tqdm(
        items, desc=task, unit=unit, delay=delay, leave=leave, total=total, disable=not task, mininterval=0.5,
        dynamic_ncols=True,
    )  # fmt: skip
