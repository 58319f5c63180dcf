"""The search: from a chain of constant affines to operators that absorb it, backward or forward. Changes nothing.

Backward, a value's label is the affine that its content shall take on; forward, the affine that its content lacks.
Nodes are visited against (or along) the order of the graph, so that a value is decided after all of its readers (or
after what it is made of): branches that part and meet again need no special case. A plan is all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.rules import AFFINE, BATCHNORM, MERGE
from normfold.fold.absorbers.table import takes_part
from normfold.fold.affines import AffineChain, AffineIndex
from normfold.fold.carriers.table import ANY_RANK, BACKWARD, carrier_for
from normfold.fold.rule import CarrierTable, Labels, Propagation
from normfold.fold.search.remainder import operators_for, require_chain_fits
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite
from normfold.graph.quantization import QUANTIZERS
from normfold.graph.reader import GraphReader

_MOST_RETRIES = 2_000  # operators that one search may visit again on other ways; the most in the zoo is 60
_NEAR = 16  # operators that a search may visit when the effort for a graph is used up; the most in the zoo is 7
# Why operators stop every affine that are in no table; of Identities, the cleanup leaves those that name an output.
_STOPS = dict.fromkeys((*QUANTIZERS, "DynamicQuantizeMatMul"), Reason.QUANTIZED) | {"Identity": Reason.GRAPH_OUTPUT}
_ABSENT = object()
_Key = TypeVar("_Key")
_Content = TypeVar("_Content")


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Hold what one fold changes.

    ``rewrites`` are the absorbers; ``merged`` other chains and the affine each becomes; ``changed_values`` the values
    between, whose content is no longer what their name says; ``sinks`` values at which the affine has no effect any
    more; ``remaining`` what stays where the chain stood; ``companions`` operators that change without taking the
    affine; ``widened`` values that get one more channel; ``kept_shifts`` operators whose shift becomes an Add behind
    them, and why it stops there.
    """

    chain: AffineChain
    direction: str
    remaining: Affine
    rewrites: tuple[Rewrite, ...] = ()
    merged: tuple[tuple[AffineChain, Affine], ...] = ()
    changed_values: tuple[ir.Value, ...] = ()
    sinks: tuple[ir.Value, ...] = ()
    companions: tuple[Rewrite, ...] = ()
    widened: tuple[ir.Value, ...] = ()
    kept_shifts: tuple[tuple[ir.Node, Obstacle], ...] = ()

    def operators_saved(self, reader: GraphReader) -> int:
        """Operators that are gone after the plan, less those it adds."""
        saved = len(self.chain.nodes) - len(operators_for(reader, self.chain, self.remaining))
        saved -= sum(rewrite.operators_added for rewrite in self.rewrites)
        return saved + sum(
            len(chain.nodes) - len(operators_for(reader, chain, affine)) for chain, affine in self.merged
        )

    @property
    def only_merges(self) -> bool:
        """Return whether only affines change, and no linear operator or norm takes one."""
        return not (self.rewrites or self.companions or self.sinks)

    @property
    def rule(self) -> str:
        """Return the name of the rule that the plan is reported under."""
        return BATCHNORM if self.chain.has_batchnorm else AFFINE if self.into else MERGE

    @property
    def weights_changed(self) -> int:
        """Return how many constants change."""
        return sum(rewrite.weights_changed for rewrite in self.rewrites) + len(self.merged)

    @property
    def into(self) -> tuple[str, ...]:
        """Names of the operators that take the affine over."""
        others = [name_of(chain.nodes[-1]) for chain, _ in self.merged]
        others += [name_of(node) for value in self.sinks if (node := value.producer()) is not None]
        return tuple(dict.fromkeys((*(name_of(rewrite.node) for rewrite in self.rewrites), *others)))

    @property
    def sites(self) -> tuple[str, ...]:
        """Values that carry the same content, under the same name, before and after."""
        if self.direction != "forward":
            return (self.chain.output.name or "",)
        absorbers = (rewrite.node.outputs[0] for rewrite in self.rewrites)
        sites = (*absorbers, *(chain.output for chain, _ in self.merged), *self.sinks)
        return tuple(value.name or "" for value in sites if value not in self.changed_values)


def obstacle_of(error: Refusal | ValueError) -> Obstacle:
    """Return what stopped an attempt; a ValueError is numpy's word for a weight or bias of a shape that cannot be."""
    if isinstance(error, Refusal):
        return error.obstacle
    return Obstacle(Reason.UNKNOWN_SHAPE, detail=f"shapes that do not fit: {error}"[:200])


def require_disjoint(plan: FoldPlan) -> FoldPlan:
    """``plan`` as it is, or a Refusal where two of its parts would change the same operator from what it is now."""
    taken: set[ir.Node | tuple[ir.Node, int]] = set()
    chains = (plan.chain, *(chain for chain, _ in plan.merged))
    changes: list[ir.Node | tuple[ir.Node, int]] = [node for chain in chains for node in chain.nodes]
    changes += [(rewrite.node, index) for rewrite in plan.rewrites for index in rewrite.inputs]
    changes += [(rewrite.node, -1) for rewrite in plan.rewrites if rewrite.attributes or rewrite.operator]
    for each in changes:
        if each in taken:
            node = each[0] if isinstance(each, tuple) else each
            raise Refusal(Reason.READERS_DISAGREE, name_of(node), detail="two parts of the fold would change it")
        taken.add(each)
    return plan


class _Recorded(dict[_Key, _Content]):
    """A dict that writes into a journal what each change overwrites, so that it can be taken back."""

    def __init__(self, journal: list[tuple[dict[Any, Any], Any, Any]]) -> None:
        super().__init__()
        self._journal = journal

    def __setitem__(self, key: _Key, item: _Content) -> None:
        self._journal.append((self, key, self.get(key, _ABSENT)))
        super().__setitem__(key, item)

    def __delitem__(self, key: _Key) -> None:
        self._journal.append((self, key, self[key]))
        super().__delitem__(key)


@dataclass(frozen=True)
class Mark:
    """A point that a search may go back to."""

    length: int
    rewrites: tuple[Rewrite, ...]
    merged: tuple[tuple[AffineChain, Affine], ...]


class State:
    """How far a search is. ``back_to`` takes back what was done since a mark, so that a failure leaves no trace.

    ``requests`` are what readers ask for by value, reader and input; ``changed_values`` have no label, and other
    content all the same; ``sinks`` are values at which an affine has died without an absorber.
    """

    def __init__(self) -> None:
        self._journal: list[tuple[dict[Any, Any], Any, Any]] = []
        self.labels: dict[ir.Value, Affine] = _Recorded(self._journal)
        self.requests: dict[tuple[ir.Value, ir.Node, int], Affine] = _Recorded(self._journal)
        self.waiting: dict[ir.Node, float] = _Recorded(self._journal)
        self.rewrites: tuple[Rewrite, ...] = ()
        self.merged: tuple[tuple[AffineChain, Affine], ...] = ()
        self.changed_values: tuple[ir.Value, ...] = ()
        self.sinks: tuple[ir.Value, ...] = ()

    def mark(self) -> Mark:
        """Return the present point."""
        return Mark(len(self._journal), self.rewrites, self.merged)

    def back_to(self, mark: Mark) -> None:
        """Take back what was done since a mark."""
        while len(self._journal) > mark.length:
            changed, key, before = self._journal.pop()
            if before is _ABSENT:
                dict.__delitem__(changed, key)
            else:
                dict.__setitem__(changed, key, before)
        self.rewrites, self.merged = mark.rewrites, mark.merged


@dataclass(frozen=True)
class Choice:
    """An operator with several ways through it: the point to go back to, and the ways not tried yet."""

    mark: Mark
    node: ir.Node
    propagations: Iterator[Propagation]


class Search:
    """What both directions share: the graph, the affines in it, and the limit."""

    def __init__(self, reader: GraphReader, affines: AffineIndex, chain: AffineChain) -> None:
        self.reader = reader
        self.affines = affines
        self.chain = chain
        self._seen: set[ir.Node] = set()
        self._left = _MOST_RETRIES

    def count(self, node: ir.Node) -> None:
        """Visits are free the first time, as long as the searches of a graph together stay in proportion to it."""
        self._left -= node in self._seen
        self._seen.add(node)
        self.affines.effort.left -= 1
        if self.affines.effort.left < 0 and len(self._seen) > _NEAR:
            raise Refusal(Reason.SEARCH_LIMIT, name_of(node), detail=f"more than {_NEAR} operators from the affine")
        if self._left < 0:
            raise Refusal(Reason.SEARCH_LIMIT, name_of(node), detail=f"{_MOST_RETRIES} operators visited again")

    def merge(self, chain: AffineChain, affine: Affine) -> tuple[AffineChain, Affine]:
        """Another chain becomes ``affine``, as long as that takes no more operators than it has."""
        require_chain_fits(self.reader, chain, affine)
        operators = operators_for(self.reader, chain, affine)
        if len(operators) > len(chain.nodes):
            detail = f"{len(chain.nodes)} of its operators would become {len(operators)}: {' and '.join(operators)}"
            raise Refusal(Reason.COSTS_MORE, name_of(chain.nodes[-1]), detail=detail)
        return chain, affine

    def require_ranks(self, node: ir.Node, values: Sequence[ir.Value | None], labels: Labels) -> None:
        """Refuse an affine on a value of unknown rank, unless ``node`` works for every rank, or stops it anyway."""
        if node.op_type in ANY_RANK or self.affines.at(node) is not None or not takes_part(self.reader, node):
            return
        for index, label in labels.items():
            value = values[index]
            if label.rank == 0 and value is not None:
                self.reader.require_shape(value, node)

    def alternatives(self, table: CarrierTable, node: ir.Node, labels: Labels) -> list[Propagation]:
        """Return the ways through an operator, or the refusal of one that no affine passes."""
        left = self.affines.left.get(node)
        carrier = carrier_for(table, node)
        if left is not None:
            ways = carrier(self.reader, node, labels) if carrier is not None else ()
            constants = {
                i for i, value in enumerate(node.inputs) if table is BACKWARD and self.reader.is_constant(value)
            }
            unchanged = [way for way in ways if way.rewrite is None and constants.isdisjoint(way.labels)]
            if not unchanged:  # what is left stays as it is, but a scale may pass it
                raise Refusal(left, name_of(node))
            return unchanged
        if carrier is None:
            raise Refusal(_STOPS.get(node.op_type, Reason.OPERATOR_STOPS), name_of(node), detail=node.op_type)
        return list(carrier(self.reader, node, labels))
