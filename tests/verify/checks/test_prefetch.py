"""Items of a generator are made in a thread, as far ahead as memory allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from normfold.verify.checks.prefetch import prefetch


# -- working ahead -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("room", "early"), [(0, 2), (3, 4), (100, 6)])
def test_items_are_made_ahead_as_far_as_they_fit(room: int, early: int) -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            if len(made) == early:
                enough.set()
            yield number

    found = prefetch(items(), lambda _: 1, room)
    assert next(found) == 0
    assert enough.wait(10), "no caller asked for the next ones, yet they are made"
    time.sleep(0.02)
    assert len(made) == early
    assert list(found) == [1, 2, 3, 4, 5]
    assert made == list(range(6))


def test_what_an_item_raises_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    found = prefetch(items(), lambda _: 1, 10)
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)


@pytest.mark.parametrize("room", [0, 100])
def test_closing_early_leaves_no_thread(room: int) -> None:
    before = set(threading.enumerate())
    found = prefetch(iter(range(10)), lambda _: 1, room)
    next(found)
    found.close()
    assert set(threading.enumerate()) <= before
