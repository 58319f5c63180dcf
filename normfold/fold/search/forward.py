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
from normfold.fold.affines import AffineChain, AffineIndex, AffineNode
from normfold.fold.cancellation import offset_in_spreads, require_no_cancellation
from normfold.fold.carriers import sums
from normfold.fold.carriers import table as carry
from normfold.fold.rule import Labels, at_rank_of
from normfold.fold.search.backward import Backward
from normfold.fold.search.plan import FoldPlan, Search, State, obstacle_of, require_disjoint
from normfold.fold.search.remainder import operators_for
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, has_one_reader
from normfold.operators.table import ADDITIONS, SUMS, is_standard, operator_of

_MOST_KEPT_SHIFTS = 8  # shifts that are tried one by one; of more, all stay where they are
_WELL_SCALED = 2.0**10  # a scale that is shared lies between this and its inverse


def plan_forward(
    reader: GraphReader,
    affines: AffineIndex,
    chain: AffineChain,
    affine: Affine,
    remaining: Affine,
    *,
    rescale_addends: bool = False,
) -> FoldPlan:
    """Let the operators behind ``chain`` read what lacks ``affine``; ``remaining`` stays at the chain.

    A linear operator without a bias lets its shift go on; where that ends nowhere, an Add behind the operator holds it.
    ``rescale_addends``: where one addend of a sum lacks a scale, the others may be made to lack it as well.
    """
    kept_shifts: dict[ir.Node, Obstacle] = {}
    while True:
        search = _Forward(reader, affines, chain, rescale_addends, kept_shifts)
        try:
            plan = search.plan(affine, remaining)
            break
        except (Refusal, ValueError) as error:
            if not search.origins_here:
                raise
            kept_shifts |= dict.fromkeys(search.origins_here, obstacle_of(error))
    for node in list(kept_shifts) if 1 < len(kept_shifts) <= _MOST_KEPT_SHIFTS else ():
        fewer = {each: why for each, why in kept_shifts.items() if each is not node}
        try:
            plan = _Forward(reader, affines, chain, rescale_addends, fewer).plan(affine, remaining)
            kept_shifts = fewer
        except (Refusal, ValueError):
            continue
    return replace(plan, kept_shifts=tuple(kept_shifts.items()))


class _Forward(Search):
    """Search forward. ``kept_shifts`` are operators whose shift does not go on, with what stopped it."""

    def __init__(
        self,
        reader: GraphReader,
        affines: AffineIndex,
        chain: AffineChain,
        rescale_addends: bool,
        kept_shifts: Mapping[ir.Node, Obstacle],
    ) -> None:
        super().__init__(reader, affines, chain)
        self.rescale_addends = rescale_addends
        self.kept_shifts = kept_shifts
        self.offset = np.zeros(())  # how far from zero the data of the affine lies, in its spread
        self.origins_here: frozenset[ir.Node] = frozenset()  # the first operators whose shift went on and is here now
        self.shift_origins: dict[ir.Value, frozenset[ir.Node]] = {}

    def plan(self, affine: Affine, remaining: Affine) -> FoldPlan:
        chain, state = self.chain, State()
        self.offset = offset_in_spreads(self.reader, chain, affine)
        self.set_pending(state, chain.nodes[-1], chain.output, affine)
        self.advance(state)
        self.origins_here = frozenset().union(*self.shift_origins.values())
        stays = () if remaining.is_identity else (chain.output,)
        changed_values = (
            *stays,
            *(value for value in state.labels if value is not chain.output),
            *state.changed_values,
        )
        return require_disjoint(
            FoldPlan(chain, "forward", remaining, state.rewrites, state.merged, changed_values, state.sinks)
        )

    def set_pending(self, state: State, node: ir.Node, value: ir.Value, affine: Affine) -> None:
        """From here on ``value`` lacks ``affine``: all its readers must know."""
        if value.is_graph_output():
            raise Refusal(Reason.GRAPH_OUTPUT, name_of(node), display_name(value), f"output {display_name(value)}")
        if not affine.has_no_shift:
            require_no_cancellation(self.reader, value, self.offset, node)
        readers = self.reader.readers(value)
        if not readers and value is self.chain.output:
            raise Refusal(
                Reason.NO_CONSUMER, name_of(node), display_name(value), f"nothing reads {display_name(value)}"
            )
        state.labels[value] = at_rank_of(self.reader, value, affine)
        self.shift_origins[value] = self.origins_here
        for reader in readers:
            state.waiting[reader] = self.reader.order(reader)

    def advance(self, state: State) -> None:
        """Visit the operators that wait, first first, until nothing lacks anything."""
        while state.waiting:
            node = min(state.waiting, key=state.waiting.__getitem__)
            del state.waiting[node]
            self.count(node)
            self.origins_here = frozenset().union(
                *(self.shift_origins.get(v, ()) for v in node.inputs if v is not None)
            )
            labels = {i: state.labels[v] for i, v in enumerate(node.inputs) if v is not None and v in state.labels}
            self.require_ranks(node, node.inputs, labels)
            if self.absorbed(state, node, labels) or self.compensate_in_addend(state, node, labels):
                continue
            if self.rescale_addends and self.rescale_addends_too(state, node, labels):
                continue
            propagation = self.alternatives(carry.FORWARD, node, labels)[0]
            self.require_room(node, propagation.labels)
            if propagation.rewrite is not None:
                self.add(state, propagation.rewrite)
            state.changed_values += propagation.changed_values
            state.sinks += propagation.sinks
            if not (propagation.labels or propagation.changed_values or propagation.rewrite is not None):
                state.sinks += tuple(node.outputs[:1])  # it dies here, as a sign does in an Abs
            for index, affine in propagation.labels.items():
                self.set_pending(state, node, node.outputs[index], affine)

    def require_room(self, node: ir.Node, lacked: Labels) -> None:
        """Refuse to take a scale below 1, such as the 1/sqrt(d) of attention, from a float16 sum that may overflow."""
        if not operator_of(node).amplifies or self.reader.dtype(node.outputs[0]) is not ir.DataType.FLOAT16:
            return
        smallest = min((float(np.abs(label.scale).min()) for label in lacked.values()), default=1.0)
        if smallest < 1:
            detail = f"without the scale of {smallest:.3g} its float16 result may overflow"
            raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail=detail)

    def absorbed(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """Return whether the operator takes the affine into its constants."""
        affine_node = self.affines.at(node)
        if affine_node is not None:
            self.merge_into_chain(state, self.affines.chain_starting_at(affine_node), labels[affine_node.index])
            return True
        absorber = absorb.absorber_for(absorb.FORWARD, self.reader, node)
        if absorber is None:
            return False
        self.add(state, self.without_new_add(state, absorber(self.reader, node, labels)))
        return True

    def add(self, state: State, rewrite: Rewrite) -> None:
        """Take a rewrite into the plan; a factor of integers goes backward to their scale."""
        back, asked = Backward(self.reader, self.affines, self.chain), State()
        back.add(asked, rewrite)
        back.advance(asked)
        if not self.joined(state, asked):
            detail = "the scale of its weight is asked for by another part of the fold"
            raise Refusal(Reason.READERS_DISAGREE, name_of(rewrite.node), detail=detail)

    def compensate_in_addend(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """(x + t) + v = x + (v + t): what one addend lacks, another can be made to bring, such as a Conv's bias."""
        if node.op_type not in ADDITIONS or not is_standard(node) or node in self.affines.left:
            return False
        if len(labels) != 1 or not all(label.has_no_scale for label in labels.values()):
            return False
        ((index, label),) = labels.items()
        for other in (each for each in range(len(node.inputs)) if each != index):
            try:
                shift = sums.moved_shift(self.reader, node, label, index, other)
                back = Backward(self.reader, self.affines, self.chain)
                compensation = State()
                back.request(compensation, node, other, shift)
                back.advance(compensation)
            except Refusal:
                continue
            if not self.accepts(state, compensation):
                continue
            state.sinks += (node.outputs[0],)
            return True
        return False

    def rescale_addends_too(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """s*x + v = s*(x + v/s): the other addends take 1/s into their weights, and the sum lacks s."""
        if node.op_type not in SUMS or not is_standard(node):
            return False
        shape = self.reader.shape(node.outputs[0])
        if shape is None:
            return False
        scale = sums.raised(next(iter(labels.values())), len(shape)).scale_only
        others = [index for index in range(len(node.inputs)) if index not in labels]
        if node in self.affines.left or not others or scale.is_identity or not self.is_well_scaled(node, scale):
            return False
        try:
            back, compensation = Backward(self.reader, self.affines, self.chain), State()
            for other in others:
                own = sums.on_operand(self.reader, node, scale, node.inputs[other])
                back.request(compensation, node, other, own.inverse())
            back.advance(compensation)
            whole = {
                **labels,
                **{other: sums.on_operand(self.reader, node, scale, node.inputs[other]) for other in others},
            }
            (propagation,) = carry.FORWARD[node.op_type](self.reader, node, whole)
        except Refusal:
            return False
        if not self.accepts(state, compensation):
            return False
        for index, affine in propagation.labels.items():
            self.set_pending(state, node, node.outputs[index], affine)
        return True

    def is_well_scaled(self, node: ir.Node, scale: Affine) -> bool:
        """Return whether the inverse of a scale neither loses digits nor leaves the range of the type."""
        size = np.abs(scale.scale)
        wide = self.reader.dtype(node.outputs[0]) in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        return wide and bool((size > 1 / _WELL_SCALED).all() and (size < _WELL_SCALED).all())

    def accepts(self, state: State, compensation: State) -> bool:
        """Take over what an addend changes, unless it costs operators or meets what the search changes itself."""
        adds = any(rewrite.operators_added for rewrite in compensation.rewrites)
        return not adds and self.joined(state, compensation)

    def joined(self, state: State, other: State) -> bool:
        """Take over what another search changes, unless it meets what this one changes; return whether it does not."""
        if set(other.labels) & set(state.labels) or self.touched(other) & {*self.touched(state), *self.chain.nodes}:
            return False
        state.rewrites += other.rewrites
        state.merged += other.merged
        state.changed_values += tuple(other.labels)
        return True

    def touched(self, state: State) -> set[ir.Node]:
        """Return the operators that a search changes."""
        merged = (node for chain, _ in state.merged for node in chain.nodes)
        return {*(rewrite.node for rewrite in state.rewrites), *merged}

    def without_new_add(self, state: State, rewrite: Rewrite) -> Rewrite:
        """Put the shift of a MatMul into the affine behind it, most often the bias, or let it go on."""
        if rewrite.shift_after is None:
            return rewrite
        out = rewrite.node.outputs[0]
        chain = next(self.chains_downstream(out), None)
        if chain is None and (rewrite.node in self.kept_shifts or len(self.kept_shifts) > _MOST_KEPT_SHIFTS):
            return rewrite
        shift = Affine.of(1.0, rewrite.shift_after, rewrite.shift_after.ndim)
        if chain is None:
            self.origins_here = self.origins_here or frozenset({rewrite.node})
            self.set_pending(state, rewrite.node, out, shift)
            return replace(rewrite, shift_after=None)
        state.merged += (self.merge(chain, shift.then(chain.affine)),)
        state.changed_values += (rewrite.node.outputs[0],)
        return replace(rewrite, shift_after=None)

    def chains_downstream(self, value: ir.Value) -> Iterator[AffineChain]:
        """Return the chain that is the only reader of ``value``, if there is one that can take a shift."""
        affine_node = self.only_affine_reader(value)
        if affine_node is not None:
            chain = self.affines.chain_starting_at(affine_node)
            if len(operators_for(self.reader, chain, Affine(chain.affine.scale, chain.affine.shift + 1.0))) <= len(
                chain.nodes
            ):
                yield chain

    def only_affine_reader(self, value: ir.Value) -> AffineNode | None:
        if not has_one_reader(value):
            return None
        return self.affines.at(self.reader.readers(value)[0])

    def merge_into_chain(self, state: State, chain: AffineChain, label: Affine) -> None:
        """Merge with a chain; where that takes more operators, divide its shift by the scale, which goes on behind it.

        a*(s*x + t) + b = s*(a*x + (a*t + b)/s).
        """
        try:
            state.merged += (self.merge(chain, label.then(chain.affine)),)
        except Refusal as refusal:
            if not label.scale.all():
                raise refusal
            self.pass_chain(state, chain, label)

    def pass_chain(self, state: State, chain: AffineChain, label: Affine) -> None:
        """Let the scale go on behind a chain that takes the shift; or both: a*(s*x + t) + b = s*(a*x + b) + rest."""
        own, propagate = chain.affine, label.then(chain.affine)
        rest = label.scale_only
        try:
            state.merged += (self.merge(chain, Affine(own.scale, compact(propagate.shift / label.scale))),)
        except Refusal:
            rest = Affine.of(label.scale, propagate.shift - label.scale * own.shift, own.rank)
        self.set_pending(state, chain.nodes[-1], chain.output, rest)
