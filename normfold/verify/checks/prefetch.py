"""Work ahead in a thread: the runtime runs outside Python's lock, so the next feeds run while one is compared."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item], adapt_to: Callable[[Item], int], room: int) -> Generator[Item]:
    """Return the same items in the same order, made in a thread while the caller works with those before.

    It is always one ahead, and goes on while those that wait weigh less than ``room``. What making an item raises is
    raised where the item would have come. To close this early waits for the item that is under way.
    """
    waiting: deque[tuple[Item, int]] = deque()
    changed = Condition()
    is_closed = False

    def make() -> None:
        for item in items:
            with changed:
                waiting.append((item, adapt_to(item)))
                changed.notify_all()
                changed.wait_for(lambda: is_closed or not waiting or sum(weight for _, weight in waiting) < room)
                if is_closed:
                    return

    def tell(_: object) -> None:
        with changed:
            changed.notify_all()

    with ThreadPoolExecutor(max_workers=1) as worker:
        made = worker.submit(make)
        made.add_done_callback(tell)
        try:
            while True:
                with changed:
                    changed.wait_for(lambda: waiting or made.done())
                    if not waiting:
                        break
                    item, _ = waiting.popleft()
                    changed.notify_all()
                yield item
            made.result()
        finally:
            with changed:
                is_closed = True
                changed.notify_all()
