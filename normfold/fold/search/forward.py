"""The search forward: a value's label is the affine that its content lacks.

Nodes are visited along the order of the graph, so that all operands of an operator are known when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, compact
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.fold.absorbers import table as absorb
from normfold.fold.affines import Run, Source, Sources
from normfold.fold.carriers import sums
from normfold.fold.carriers import table as carry
from normfold.fold.rule import Labels
from normfold.fold.search.backward import Backward
from normfold.fold.search.plan import Plan, Search, State, obstacle_of, require_disjoint
from normfold.fold.search.remainder import operators_for
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, known_as, name_of

_ACCUMULATE = frozenset(
    {"ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "CumSum", "MatMul", "Einsum", "Mul", "Pow"}
)
_MOST_HELD = 8  # shifts that are tried one by one; of more, all stay where they are
_MODERATE = 2.0**10  # a scale that is shared lies between this and its inverse


def plan_forward(
    reader: GraphReader, sources: Sources, run: Run, affine: Affine, residue: Affine, *, generous: bool = False
) -> Plan:
    """Let the operators behind ``run`` read what lacks ``affine``; ``residue`` stays at the run.

    A linear operator without a bias lets its shift go on; where that ends nowhere, an Add behind the operator holds it.
    ``generous``: where one addend of a sum lacks a scale, the others may be made to lack it as well.
    """
    held: dict[ir.Node, Obstacle] = {}
    while True:
        search = _Forward(reader, sources, run, generous, held)
        try:
            plan = search.plan(affine, residue)
            break
        except (Refusal, ValueError) as error:
            if not search.led_here:
                raise
            held |= dict.fromkeys(search.led_here, obstacle_of(error))
    for node in list(held) if 1 < len(held) <= _MOST_HELD else ():
        fewer = {each: why for each, why in held.items() if each is not node}
        try:
            plan = _Forward(reader, sources, run, generous, fewer).plan(affine, residue)
            held = fewer
        except (Refusal, ValueError):
            continue
    return replace(plan, held=tuple(held.items()))


class _Forward(Search):
    """``held`` are operators whose shift does not go on, with what stopped it."""

    def __init__(
        self, reader: GraphReader, sources: Sources, run: Run, generous: bool, held: Mapping[ir.Node, Obstacle]
    ) -> None:
        super().__init__(reader, sources, run)
        self.generous = generous
        self.held = held
        self.led_here: frozenset[ir.Node] = frozenset()  # the first operators whose shift went on and is here now
        self.led_to: dict[ir.Value, frozenset[ir.Node]] = {}

    def plan(self, affine: Affine, residue: Affine) -> Plan:
        run, state = self.run, State()
        self.owe(state, run.nodes[-1], run.site, affine)
        self.advance(state)
        self.led_here = frozenset().union(*self.led_to.values())
        stays = () if residue.is_identity else (run.site,)
        changed = (*stays, *(value for value in state.labels if value is not run.site), *state.moved)
        return require_disjoint(Plan(run, "forward", residue, state.rewrites, state.merged, changed, state.ends))

    def owe(self, state: State, node: ir.Node, value: ir.Value, affine: Affine) -> None:
        """From here on ``value`` lacks ``affine``: all its readers must know."""
        if value.is_graph_output():
            raise Refusal(Reason.GRAPH_OUTPUT, name_of(node), known_as(value), f"output {known_as(value)}")
        readers = self.reader.readers(value)
        if not readers and value is self.run.site:
            raise Refusal(Reason.NO_CONSUMER, name_of(node), known_as(value), f"nobody reads {known_as(value)}")
        state.labels[value] = affine
        self.led_to[value] = self.led_here
        for reader in readers:
            state.waiting[reader] = self.reader.order(reader)

    def advance(self, state: State) -> None:
        """Visit the operators that wait, first first, until nothing lacks anything."""
        while state.waiting:
            node = min(state.waiting, key=state.waiting.__getitem__)
            del state.waiting[node]
            self.count(node)
            self.led_here = frozenset().union(*(self.led_to.get(v, ()) for v in node.inputs if v is not None))
            labels = {i: state.labels[v] for i, v in enumerate(node.inputs) if v is not None and v in state.labels}
            if self.absorbed(state, node, labels) or self.given_to_addend(state, node, labels):
                continue
            if self.generous and self.shared_with_addends(state, node, labels):
                continue
            self.require_room(node, labels)
            passage = self.alternatives(carry.FORWARD, node, labels)[0]
            if passage.rewrite is not None:
                state.rewrites += (passage.rewrite,)
            state.moved += passage.moved
            state.ends += passage.ends
            if not (passage.labels or passage.moved or passage.rewrite is not None):
                state.ends += tuple(node.outputs[:1])  # it dies here, as a sign does in an Abs
            for index, affine in passage.labels.items():
                self.owe(state, node, node.outputs[index], affine)

    def require_room(self, node: ir.Node, labels: Labels) -> None:
        """A sum or product of float16 may overflow where it lacks a scale below 1: the 1/sqrt(d) of attention."""
        if node.op_type not in _ACCUMULATE or self.reader.dtype(node.outputs[0]) is not ir.DataType.FLOAT16:
            return
        smallest = min(float(np.abs(label.scale).min()) for label in labels.values())
        if smallest < 1:
            detail = f"without the scale of {smallest:.3g} its float16 result may overflow"
            raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail=detail)

    def absorbed(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """Whether the operator takes the affine into its constants."""
        source = self.sources.at(node)
        if source is not None:
            self.take_into_run(state, self.sources.run_from(source), labels[source.index])
            return True
        absorber = absorb.absorber_for(absorb.FORWARD, self.reader, node)
        if absorber is None:
            return False
        state.rewrites += self.without_new_add(state, absorber(self.reader, node, labels))
        return True

    def given_to_addend(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """(x + t) + v = x + (v + t): what one addend lacks, another can be made to bring, such as a Conv's bias."""
        if node.op_type not in sums.OPERATORS or node.domain not in ("", "ai.onnx") or node in self.sources.left:
            return False
        if len(labels) != 1 or not all(label.has_no_scale for label in labels.values()):
            return False
        ((index, label),) = labels.items()
        for other in range(len(node.inputs)):
            try:
                shift = sums.moved_shift(self.reader, node, label, index, other)
                back = Backward(self.reader, self.sources, self.run)
                gift = State()
                back.demand(gift, node, other, shift)
                back.advance(gift)
            except Refusal:
                continue
            if not self.accepts(state, gift):
                continue
            state.ends += (node.outputs[0],)
            return True
        return False

    def shared_with_addends(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """s*x + v = s*(x + v/s): the other addends take 1/s into their weights, and the sum lacks s."""
        if node.op_type not in (*sums.OPERATORS, "Mean") or node.domain not in ("", "ai.onnx"):
            return False
        shape = self.reader.shape(node.outputs[0])
        if shape is None:
            return False
        scale = sums.raised(next(iter(labels.values())), len(shape)).scale_only
        others = [index for index in range(len(node.inputs)) if index not in labels]
        if node in self.sources.left or not others or scale.is_identity or not self.is_moderate(node, scale):
            return False
        try:
            back, gift = Backward(self.reader, self.sources, self.run), State()
            for other in others:
                own = sums.on_operand(self.reader, node, scale, node.inputs[other])
                back.demand(gift, node, other, own.inverse())
            back.advance(gift)
            whole = {
                **labels,
                **{other: sums.on_operand(self.reader, node, scale, node.inputs[other]) for other in others},
            }
            (passage,) = carry.FORWARD[node.op_type](self.reader, node, whole)
        except Refusal:
            return False
        if not self.accepts(state, gift):
            return False
        for index, affine in passage.labels.items():
            self.owe(state, node, node.outputs[index], affine)
        return True

    def is_moderate(self, node: ir.Node, scale: Affine) -> bool:
        """Whether the inverse of a scale neither loses digits nor leaves the range of the type."""
        size = np.abs(scale.scale)
        wide = self.reader.dtype(node.outputs[0]) in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        return wide and bool((size > 1 / _MODERATE).all() and (size < _MODERATE).all())

    def accepts(self, state: State, gift: State) -> bool:
        """Take over what an addend changes, unless it costs operators or meets what the search changes itself."""
        if set(gift.labels) & set(state.labels) or any(rewrite.operators_added for rewrite in gift.rewrites):
            return False
        if self.touched(gift) & {*self.touched(state), *self.run.nodes}:
            return False
        state.rewrites += gift.rewrites
        state.merged += gift.merged
        state.moved += tuple(gift.labels)
        return True

    def touched(self, state: State) -> set[ir.Node]:
        """The operators that a search changes."""
        merged = (node for run, _ in state.merged for node in run.nodes)
        return {*(rewrite.node for rewrite in state.rewrites), *merged}

    def without_new_add(self, state: State, rewrite: Rewrite) -> tuple[Rewrite, ...]:
        """A MatMul's shift goes into the affine behind it, where there is one: most often the bias; or else on."""
        if rewrite.shift_after is None:
            return (rewrite,)
        out = rewrite.node.outputs[0]
        run = next(self.runs_behind(out), None)
        if run is None and (rewrite.node in self.held or len(self.held) > _MOST_HELD):
            return (rewrite,)
        shift = Affine.of(1.0, rewrite.shift_after, rewrite.shift_after.ndim)
        if run is None:
            self.led_here = self.led_here or frozenset({rewrite.node})
            self.owe(state, rewrite.node, out, shift)
            return (replace(rewrite, shift_after=None),)
        state.merged += (self.merge(run, shift.then(run.affine)),)
        state.moved += (rewrite.node.outputs[0],)
        return (replace(rewrite, shift_after=None),)

    def runs_behind(self, value: ir.Value) -> Iterator[Run]:
        """The run that is the only reader of ``value``, if there is one that can take a shift."""
        source = self.only_affine_reader(value)
        if source is not None:
            run = self.sources.run_from(source)
            if len(operators_for(self.reader, run, Affine(run.affine.scale, run.affine.shift + 1.0))) <= len(run.nodes):
                yield run

    def only_affine_reader(self, value: ir.Value) -> Source | None:
        if value.is_graph_output() or len(value.uses()) != 1:
            return None
        return self.sources.at(self.reader.readers(value)[0])

    def take_into_run(self, state: State, run: Run, label: Affine) -> None:
        """Merge with a run; where that takes more operators, divide its shift by the scale, which goes on behind it.

        a*(s*x + t) + b = s*(a*x + (a*t + b)/s).
        """
        try:
            state.merged += (self.merge(run, label.then(run.affine)),)
        except Refusal as refusal:
            if not label.scale.all():
                raise refusal
            self.pass_run(state, run, label)

    def pass_run(self, state: State, run: Run, label: Affine) -> None:
        """The scale goes on behind a run that takes the shift; or both do: a*(s*x + t) + b = s*(a*x + b) + rest."""
        own, through = run.affine, label.then(run.affine)
        rest = label.scale_only
        try:
            state.merged += (self.merge(run, Affine(own.scale, compact(through.shift / label.scale))),)
        except Refusal:
            rest = Affine.of(label.scale, through.shift - label.scale * own.shift, own.rank)
        self.owe(state, run.nodes[-1], run.site, rest)
