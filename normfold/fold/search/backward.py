"""The search backward: a value's label is the affine that its content shall take on.

Nodes are visited against the order of the graph, so that every reader of a value has spoken before it is decided.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers import table as absorb
from normfold.fold.absorbers.quantized import factor_of
from normfold.fold.affines import AffineChain, AffineIndex, AffineNode
from normfold.fold.cancellation import require_no_cancellation_after
from normfold.fold.carriers import table as carry
from normfold.fold.rule import Labels, Propagation, applied, at_rank_of
from normfold.fold.search.plan import Choice, FoldPlan, Search, State, require_disjoint
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader


def plan_backward(
    reader: GraphReader, affines: AffineIndex, chain: AffineChain, affine: Affine, remaining: Affine
) -> FoldPlan:
    """Make the operators before ``chain`` produce ``affine``; ``remaining`` stays at the chain."""
    search = Backward(reader, affines, chain)
    state = State()
    search.request_input(state, chain.members[0], affine)
    search.advance(state)
    return require_disjoint(FoldPlan(chain, "backward", remaining, state.rewrites, state.merged, tuple(state.labels)))


class Backward(Search):
    """Search from a value to the operators before it."""

    def request_input(self, state: State, affine_node: AffineNode, affine: Affine) -> None:
        """``affine_node`` wants its entry to become ``affine`` of itself, at every input that reads it."""
        for index in affine_node.indices:
            self.request(state, affine_node.node, index, affine)

    def request(self, state: State, node: ir.Node, index: int, affine: Affine) -> None:
        """``node`` wants the value at its input ``index`` to become ``affine`` of itself."""
        value = node.inputs[index]
        assert value is not None, "a carrier requests only of inputs that are there"
        affine = at_rank_of(self.reader, value, affine)
        if self.reader.is_constant(value) and not self.reader.is_quantized(value):
            state.rewrites += (Rewrite(node, inputs={index: applied(self.reader, node, index, affine)}),)
            return
        producer = value.producer()
        if producer is None:
            reason = Reason.OVERRIDABLE_INITIALIZER if self.reader.overridable(value) else Reason.GRAPH_INPUT
            kind = "initializer" if self.reader.overridable(value) else "input"
            raise Refusal(reason, name_of(node), display_name(value), f"{kind} {display_name(value)}")
        if producer.graph is not node.graph:
            detail = f"{display_name(value)} is made in another graph"
            raise Refusal(Reason.CAPTURED, name_of(node), display_name(value), detail)
        state.labels[value] = _both(state.labels.get(value), affine, node)
        state.requests[value, node, index] = affine
        state.waiting[producer] = self.reader.order(producer)

    def advance(self, state: State) -> None:
        """Try the alternatives depth first until one ends well; raises the first refusal met where none does."""
        choices: list[Choice] = []
        refused: list[Refusal] = []
        while True:
            try:
                node, propagations = self.until_a_choice(state)
                if node is None:
                    return
                choices.append(Choice(state.mark(), node, iter(propagations)))
            except Refusal as refusal:
                refused.append(refusal)
            if not self.next_alternative(state, choices, refused):
                raise refused[0]

    def next_alternative(self, state: State, choices: list[Choice], refused: list[Refusal]) -> bool:
        """Take the next passage of the last choice that has one left; False where none has."""
        while choices:
            choice = choices[-1]
            state.back_to(choice.mark)
            propagation = next(choice.propagations, None)
            if propagation is None:
                choices.pop()
                continue
            try:
                self.pass_on(state, choice.node, propagation)
            except Refusal as refusal:
                refused.append(refusal)
                continue
            return True
        return False

    def until_a_choice(self, state: State) -> tuple[ir.Node | None, list[Propagation]]:
        """Visit the operators that wait, last first; stops at one with alternatives, or when none waits any more."""
        while state.waiting:
            node = max(state.waiting, key=state.waiting.__getitem__)
            del state.waiting[node]
            self.count(node)
            labels = {i: state.labels[out] for i, out in enumerate(node.outputs) if out in state.labels}
            for index in labels:
                self.settle_readers(state, node.outputs[index])
            self.require_ranks(node, node.outputs, labels)
            if self.absorbed(state, node, labels):
                continue
            propagations = self.alternatives(carry.BACKWARD, node, labels)
            if len(propagations) == 1:
                self.pass_on(state, node, propagations[0])
                continue
            return node, propagations
        return None, []

    def pass_on(self, state: State, node: ir.Node, propagation: Propagation) -> None:
        """Ask the inputs for what a way through an operator needs."""
        if propagation.rewrite is not None:
            self.add(state, propagation.rewrite)
        for index, affine in propagation.labels.items():
            self.request(state, node, index, affine)

    def settle_readers(self, state: State, value: ir.Value) -> None:
        """Every reader of a value that changes must have asked for it, or be an affine that can undo it."""
        if value.is_graph_output():
            raise Refusal(
                Reason.GRAPH_OUTPUT, name_of(self.chain.nodes[0]), display_name(value), f"output {display_name(value)}"
            )
        self.reader.readers(value)
        for use in value.uses():
            asked_here = state.requests.get((value, use[0], use[1]))
            if asked_here is not None and asked_here.same_as(state.labels[value]):
                continue
            if not self.sees_only_what_it_asked(state, value, *use) and asked_here is None:
                self.undo_in(state, use[0], value)

    def sees_only_what_it_asked(self, state: State, value: ir.Value, node: ir.Node, index: int) -> bool:
        """Return whether the label of ``value`` reaches the reader's outputs as exactly what they asked for.

        A Slice of the keys sees nothing of a scale on the queries. False where the reader takes no part in the plan.
        """
        carrier = carry.carrier_for(carry.FORWARD, node)
        wanted = {i: state.labels[out] for i, out in enumerate(node.outputs) if out in state.labels}
        requested = (value, node, index) in state.requests
        if carrier is None or self.affines.at(node) is not None:
            if requested:
                detail = f"another reader of {display_name(value)} asks for something else"
                raise Refusal(Reason.READERS_DISAGREE, name_of(node), display_name(value), detail)
            return False
        label = {index: state.labels[value]}
        try:
            self.require_ranks(node, node.inputs, label)
            seen = carrier(self.reader, node, label)[0]
        except Refusal:
            if requested:
                raise
            return False
        if not requested:  # what it passes on would come on top of what it asked of its other inputs
            return seen.rewrite is None and not seen.labels
        same = seen.rewrite is None and set(seen.labels) == set(wanted)
        same = same and all(seen.labels[i].same_as(wanted[i]) for i in wanted)
        if requested and not same:
            detail = f"another reader of {display_name(value)} asks for something else"
            raise Refusal(Reason.READERS_DISAGREE, name_of(node), display_name(value), detail)
        return same

    def undo_in(self, state: State, node: ir.Node, value: ir.Value) -> None:
        """Conv -> {BN1, BN2}: the first is folded, the second becomes the affine that leads from the first to it."""
        affine_node = self.affines.at(node)
        label = state.labels[value]
        if (
            value is not self.chain.input
            or affine_node is None
            or affine_node.input is not value
            or not label.scale.all()
        ):
            raise Refusal(Reason.SEVERAL_READERS, name_of(node), display_name(value), f"it reads {display_name(value)}")
        chain = self.affines.chain_starting_at(affine_node)
        require_no_cancellation_after(self.reader, label, (affine_node.node, self.chain.nodes[0]))
        state.merged += (self.merge(chain, chain.affine.after(label)),)

    def absorbed(self, state: State, node: ir.Node, labels: Labels) -> bool:
        """Return whether the operator takes the affine into its constants."""
        affine_node = self.affines.at(node)
        if affine_node is not None:
            self.merge_into_chain(state, self.affines.chain_ending_at(affine_node), labels[0])
            return True
        absorber = absorb.absorber_for(absorb.BACKWARD, self.reader, node)
        if absorber is None:
            return False
        self.add(state, absorber(self.reader, node, labels))
        return True

    def add(self, state: State, rewrite: Rewrite) -> None:
        """Take a rewrite into the plan; a factor of a weight that is stored as integers is asked of their scale."""
        inputs = dict(rewrite.inputs)
        for index, weight in rewrite.inputs.items():
            value = rewrite.node.inputs[index] if index < len(rewrite.node.inputs) else None
            if isinstance(weight, Weight) and self.reader.is_quantized(value):
                del inputs[index]
                self.request(state, rewrite.node, index, factor_of(self.reader, rewrite.node, index, weight))
        state.rewrites += (replace(rewrite, inputs=inputs),)

    def merge_into_chain(self, state: State, chain: AffineChain, label: Affine) -> None:
        """Merge with a chain; where that takes more operators, its shift is scaled and the scale goes on before it.

        s*(a*x + b) + t = a*(s*x) + (s*b + t).
        """
        try:
            state.merged += (self.merge(chain, chain.affine.then(label)),)
        except Refusal:
            self.pass_chain(state, chain, label)

    def pass_chain(self, state: State, chain: AffineChain, label: Affine) -> None:
        """Let the scale go on before a chain that takes the shift; or both: s*(a*x + b) + t = a*(s*x + rest) + b."""
        own, through = chain.affine, chain.affine.then(label)
        before = label.scale_only
        try:
            state.merged += (self.merge(chain, Affine(own.scale, through.shift)),)
        except Refusal as refusal:
            if not own.scale.all():
                raise refusal
            before = Affine.of(label.scale, (through.shift - own.shift) / own.scale, own.rank)
        self.request_input(state, chain.members[0], before)


def _both(known: Affine | None, asked: Affine, node: ir.Node) -> Affine:
    """One affine for two readers that ask for different parts of a value; Refusal where they ask for the same part."""
    if known is None or known.same_as(asked):
        return asked
    ours = (known.scale != 1) | (known.shift != 0)
    theirs = (asked.scale != 1) | (asked.shift != 0)
    differ = (known.scale != asked.scale) | (known.shift != asked.shift)
    if (ours & theirs & differ).any():
        axes = [axis for axis, size in enumerate(differ.shape) if size > 1]
        detail = f"{int((ours & theirs & differ).sum())} places of axes {axes} are asked for differently"
        raise Refusal(Reason.READERS_DISAGREE, name_of(node), detail=detail)
    scale, shift = np.where(ours, known.scale, asked.scale), np.where(ours, known.shift, asked.shift)
    return Affine.of(scale, shift, known.rank)
