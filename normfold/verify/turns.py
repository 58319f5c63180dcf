"""Which values are compared for which feed: all of them once, and again those that one feed does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normfold.verify.case import Case
from normfold.verify.compare import is_floating
from normfold.verify.feeds import Feed
from normfold.verify.held import fed_values, first_behind
from normfold.verify.run import Value

PARTS = 3
"""Of a later feed of another size one site in so many is compared."""

_STOPS_NEGATIVE = frozenset({"Relu", "Clip", "HardSigmoid", "HardSwish", "ThresholdedRelu"})


@dataclass(frozen=True)
class Chunk:
    """Values compared in one go: ``targets``; ``earlier`` targets that its parts may be fed with; and which of all
    values so far later chunks still need."""

    targets: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    needed_later: frozenset[str] = frozenset()


class Turns:
    """The turn of each target of a chunk.

    Outputs are compared for every feed and all sites for the first. On a later feed of another size each site has its
    turn, because a fold may be wrong for some sizes. Of the same size only those are compared again that the first one
    could not show: sites behind a channel that never was positive, and so may be all zeros where they read it.
    """

    def __init__(self, case: Case, chunk: Chunk) -> None:
        self._case, self._targets = case, chunk.targets
        self._is_whole = not chunk.earlier and not chunk.needed_later
        # Random values are not compared: the candidate is fed with those of the original.
        self._wanted = [name for name in chunk.targets if name not in case.drawn]
        self._sizes: dict[object, int] = {}
        self._unseen: frozenset[str] = frozenset()

    def due(self, number: int, feed: Feed) -> list[str]:
        """What to compare for a feed; the same whenever it is asked."""
        if not self._case.is_plain_turn(number):
            return []
        first = self._sizes.setdefault(_sizes_of(feed), number)
        if not number or not self._case.owners:
            return self._wanted
        outputs = set(self._case.original.output_names)
        sites = [name for name in self._wanted if name not in outputs]
        turn = sites[number % PARTS :: PARTS] if first == number else []
        due = {*outputs, *self._unseen, *turn}
        return [name for name in self._wanted if name in due]

    def needed(self, number: int, feed: Feed) -> list[str]:
        """Which of the original's values that takes: those to compare, and those that the candidate is fed with."""
        if not self._case.owners or not self._is_whole:
            return list(self._targets)
        due = self.due(number, feed)
        wanted = {*due, *fed_values(self._case.candidate, due, self._targets), *self._case.original.output_names}
        return [name for name in self._targets if name in wanted]

    def remember(self, values: Mapping[str, Value]) -> None:
        """Look at the first feed's values for what they do not show."""
        held = self._case.candidate
        found = {
            after
            for name in self._wanted
            if {held.graph.node[index].op_type for index in held.readers.get(name, ())} & _STOPS_NEGATIVE
            and _never_positive(values[name]).any()
            for after in first_behind(held, name, self._wanted)
        }
        self._unseen = frozenset(found)


def _sizes_of(feed: Feed) -> object:
    return frozenset((name, np.shape(value)) for name, value in feed.values.items())


def _never_positive(value: Value) -> np.ndarray:
    """For each channel, whether it holds no positive number."""
    if not isinstance(value, np.ndarray) or not is_floating(value) or value.ndim < 2 or not value.size:
        return np.zeros(0, bool)
    with np.errstate(all="ignore"):
        return np.asarray(value.reshape(*value.shape[:2], -1).max(axis=2).max(axis=0) <= 0)
