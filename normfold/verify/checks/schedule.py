"""Which values are compared for which feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.runtime.submodel import fed_values, needed_for
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question

LIGHT_BYTES = 2 * 2**20
"""Values that take less are made for every feed, though few of them are compared."""


@dataclass(frozen=True)
class Chunk:
    """Values compared in one go.

    ``targets``; ``earlier`` targets that its parts may be fed with; and which of all values so far later chunks still
    need.
    """

    targets: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    needed_later: frozenset[str] = frozenset()


class Schedule:
    """The turn of each target of a chunk.

    Outputs are compared for every feed and all sites for the first, and for one that throws other switches, which may
    send other values to the sites. What other numbers and sizes show is seen where the regions get feeds of their own.
    """

    def __init__(self, question: Question, chunk: Chunk) -> None:
        self._question, self._targets = question, chunk.targets
        self._is_whole = not chunk.earlier and not chunk.needed_later
        # Random values are not compared: the candidate is fed with those of the original.
        self._wanted = [name for name in chunk.targets if name not in question.random_values]
        self._switches: dict[object, int] = {}
        self._decisive = decisive_inputs(question.original)
        self.is_cheap = False

    def values_to_compare(self, number: int, feed: Feed) -> list[str]:
        """Return what to compare for a feed; the same whenever it is asked."""
        if not self._question.is_unoptimized_feed(number, feed):
            return []
        has_new_switches = self._switches.setdefault(_switches_of(feed, self._decisive), number) == number
        if has_new_switches or not self._question.folds:
            return self._wanted
        outputs = set(self._question.original.output_names)
        return [name for name in self._wanted if name in outputs]

    def adapt_to(self, values: Mapping[str, Value]) -> None:
        """Decide by the first feed whether to make all values again costs less than to open sessions over fewer."""
        self.is_cheap = self._is_whole and bytes_of(values) < LIGHT_BYTES

    def needed(self, number: int, feed: Feed) -> list[str]:
        """Which of the original's values that takes: those to compare, and those that the candidate is fed with."""
        if not self._question.folds or not self._is_whole or self.is_cheap:
            return list(self._targets)
        names = self.values_to_compare(number, feed)
        fed = fed_values(self._question.candidate, names, self._targets)
        wanted = {*names, *fed, *self._question.original.output_names}
        return [name for name in self._targets if name in wanted]


def bytes_of(values: Mapping[str, Value]) -> int:
    """Return what the tensors among them take."""
    return sum(getattr(value, "nbytes", 0) for value in values.values())


def decisive_inputs(model: LoadedModel) -> frozenset[str]:
    """Return the inputs that a branch, a loop or a choice depends on. Any other number is data: a time step, say."""
    decided = {"If": 1, "Where": 1, "Loop": 2}
    nodes = model.graph.node
    conditions = {name for node in nodes for name in node.input[: decided.get(node.op_type, 0)] if name}
    return frozenset(conditions | needed_for(model, conditions)) & {value.name for value in model.inputs}


def _switches_of(feed: Feed, decisive: Collection[str]) -> object:
    """Return the inputs that say yes or no, and the single whole numbers that decide something."""
    single = ((name, np.asarray(value)) for name, value in feed.values.items() if np.size(value) == 1)
    return frozenset(
        (name, array.item())
        for name, array in single
        if array.dtype.kind == "b" or (array.dtype.kind in "iu" and name in decisive)
    )
