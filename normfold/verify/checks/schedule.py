"""Which values are compared for which feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.runtime.submodel import fed_values, needed_for
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.channels import channel_axes
from normfold.verify.state import ProofState

PARTS = 3
"""Of a later feed of another size one site in so many is compared."""

LIGHT_BYTES = 2 * 2**20
"""Values that take less are made for every feed, though few of them are compared."""

FEW_PLACES = 16
"""A channel with fewer numbers in the first feed tells little of its weights."""


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
    send other values to the sites. On a later feed of another size each site has its turn, because a fold may be wrong
    for some sizes. Another feed of the same size shows nothing more at the sites, unless channels are few numbers each.
    """

    def __init__(self, proof: ProofState, chunk: Chunk) -> None:
        self._proof, self._question, self._targets = proof, proof.question, chunk.targets
        self._is_whole = not chunk.earlier and not chunk.needed_later
        # Random values are not compared: the candidate is fed with those of the original.
        self._wanted = [name for name in chunk.targets if name not in proof.question.random_values]
        self._sizes: dict[object, int] = {}
        self._switches: dict[object, int] = {}
        self._decisive = decisive_inputs(proof.question.original)
        self._few_elements: frozenset[str] = frozenset()
        self.is_cheap = False

    def values_to_compare(self, number: int, feed: Feed) -> list[str]:
        """Return what to compare for a feed; the same whenever it is asked."""
        if not self._question.is_unoptimized_feed(number, feed):
            return []
        first = self._sizes.setdefault(_sizes_of(feed), number)
        has_new_switches = self._switches.setdefault(_switches_of(feed, self._decisive), number) == number
        if has_new_switches or not self._question.folds:
            return self._wanted
        outputs = set(self._question.original.output_names)
        sites = [name for name in self._wanted if name not in outputs]
        turn = sites[number % PARTS :: PARTS] if first == number else []
        return [name for name in self._wanted if name in {*outputs, *turn, *self._few_elements}]

    def adapt_to(self, values: Mapping[str, Value]) -> None:
        """Decide by the first feed which values must be compared for every feed.

        Decide too whether to make all of them again costs less than to open sessions over fewer.
        """
        self._few_elements = frozenset(name for name, value in values.items() if _has_few_elements(value))
        self.is_cheap = self._is_whole and bytes_of(values) < LIGHT_BYTES

    def needed(self, number: int, feed: Feed) -> list[str]:
        """Which of the original's values that takes: those to compare, and those that the candidate is fed with."""
        if not self._question.folds or not self._is_whole or self.is_cheap:
            return list(self._targets)
        wanted = {*self.values_for(self.values_to_compare(number, feed)), *self._question.original.output_names}
        return [name for name in self._targets if name in wanted]

    def values_for(self, names: Sequence[str]) -> list[str]:
        """Those targets with the values between which the candidate's parts make them."""
        return [
            *names,
            *(name for name in fed_values(self._question.candidate, names, self._targets) if name not in names),
        ]

    def undecided(self) -> list[str]:
        """Sites of which no feed so far showed anything: noise decided, or nothing was a number."""
        recorded = {
            c.value for c in self._proof.comparisons() if not c.noise_dominated and (c.comparable or not c.passed)
        }
        return [name for name in self._wanted if name in self._question.folds and name not in recorded]


def bytes_of(values: Mapping[str, Value]) -> int:
    """Return what the tensors among them take."""
    return sum(getattr(value, "nbytes", 0) for value in values.values())


def _has_few_elements(value: Value) -> bool:
    if not isinstance(value, np.ndarray) or not value.size:
        return False
    return any(value.size // value.shape[axis] < FEW_PLACES for axis in channel_axes(value) or (0,) if value.ndim)


def _sizes_of(feed: Feed) -> object:
    return frozenset((name, np.shape(value)) for name, value in feed.values.items())


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
