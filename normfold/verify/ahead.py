"""Work one item ahead: the runtime runs outside Python's lock, so the next feed runs while the last is compared."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def one_ahead(items: Iterator[Item]) -> Generator[Item]:
    """The same items in the same order, each next one made in a thread while the caller works with the one before.

    What making an item raises is raised where the item would have come. To close this early waits for the item that is
    under way.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = worker.submit(next, items, end)
            yield item  # type: ignore[misc]  # `end` is told apart by identity, which types do not know
