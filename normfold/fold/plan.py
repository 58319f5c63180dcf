"""The search: from a run of constant affines to operators that absorb it, backward or forward. Changes nothing.

Backward, a value's label is the affine that its content shall take on; forward, the affine that its content lacks.
Nodes are visited against (or along) the order of the graph, so that every reader of a value has spoken before the
value is judged: branches that part and meet again are one case, not several. A plan is all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, compact
from normfold.edit import Rewrite, require_fits
from normfold.fold import absorb, carry
from normfold.fold.carriers import sums
from normfold.fold.carriers.passage import Labels, Passage, Tables
from normfold.fold.find import Run, Source, Sources, require_digits_left
from normfold.fold.form import operators_for, require_run_fits
from normfold.graph import GraphReader, name_of
from normfold.reason import Reason, Refusal

_MOST_NODES = 2_000  # visited by one search; the largest fold in the zoo visits 60
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


@dataclass(frozen=True, eq=False)
class Plan:
    """What one fold changes.

    ``rewrites`` are the absorbers; ``merged`` other runs and the affine each becomes; ``changed`` the values between,
    whose content is no longer what their name says; ``ends`` values at which the affine has no effect any more;
    ``residue`` what stays where the run stood; ``beside`` operators that change without taking the affine; ``widened``
    values that get one more channel.
    """

    run: Run
    direction: str
    residue: Affine
    rewrites: tuple[Rewrite, ...] = ()
    merged: tuple[tuple[Run, Affine], ...] = ()
    changed: tuple[ir.Value, ...] = ()
    ends: tuple[ir.Value, ...] = ()
    beside: tuple[Rewrite, ...] = ()
    widened: tuple[ir.Value, ...] = ()

    def operators_saved(self, reader: GraphReader) -> int:
        """Operators that are gone after the plan, less those it adds."""
        saved = len(self.run.nodes) - len(operators_for(reader, self.run, self.residue))
        saved -= sum(rewrite.operators_added for rewrite in self.rewrites)
        return saved + sum(len(run.nodes) - len(operators_for(reader, run, affine)) for run, affine in self.merged)

    @property
    def weights_changed(self) -> int:
        return sum(rewrite.weights_changed for rewrite in self.rewrites) + len(self.merged)

    @property
    def into(self) -> tuple[str, ...]:
        """Names of the operators that take the affine over."""
        others = [name_of(run.nodes[-1]) for run, _ in self.merged]
        others += [name_of(node) for value in self.ends if (node := value.producer()) is not None]
        return tuple(dict.fromkeys((*(name_of(rewrite.node) for rewrite in self.rewrites), *others)))

    @property
    def sites(self) -> tuple[str, ...]:
        """Values that carry the same content, under the same name, before and after."""
        if self.direction != "forward":
            return (self.run.site.name or "",)
        absorbers = (rewrite.node.outputs[0] for rewrite in self.rewrites)
        sites = (*absorbers, *(run.site for run, _ in self.merged), *self.ends)
        return tuple(value.name or "" for value in sites if value not in self.changed)


@dataclass
class _State:
    """How far a search is. Copied at each alternative, so that a failed one leaves no trace."""

    labels: dict[ir.Value, Affine] = field(default_factory=dict)
    claimed: dict[ir.Value, dict[tuple[ir.Node, int], Affine]] = field(default_factory=dict)
    waiting: dict[ir.Node, float] = field(default_factory=dict)
    rewrites: tuple[Rewrite, ...] = ()
    merged: tuple[tuple[Run, Affine], ...] = ()
    moved: tuple[ir.Value, ...] = ()  # values without a label whose content changes all the same
    ends: tuple[ir.Value, ...] = ()  # values at which an affine has died without an absorber

    def copy(self) -> _State:
        claimed = {value: dict(uses) for value, uses in self.claimed.items()}
        return replace(self, labels=dict(self.labels), claimed=claimed, waiting=dict(self.waiting))


@dataclass(frozen=True)
class _Choice:
    """An operator with several ways through it: the search as it was there, and the ways not tried yet."""

    state: _State
    node: ir.Node
    passages: Iterator[Passage]


class _Search:
    """What both directions share: the graph, the affines in it, and the limit."""

    def __init__(self, reader: GraphReader, sources: Sources, run: Run) -> None:
        self.reader = reader
        self.sources = sources
        self.run = run
        self._left = _MOST_NODES

    def count(self, node: ir.Node) -> None:
        self._left -= 1
        if self._left < 0:
            raise Refusal(Reason.SEARCH_LIMIT, name_of(node), detail=f"{_MOST_NODES} operators visited")

    def merge(self, run: Run, affine: Affine) -> tuple[Run, Affine]:
        """Another run becomes ``affine``, as long as that takes no more operators than it has."""
        require_run_fits(self.reader, run, affine)
        operators = operators_for(self.reader, run, affine)
        if len(operators) > len(run.nodes):
            raise Refusal(Reason.COSTS_MORE, name_of(run.nodes[-1]), detail="one operator would become two")
        return run, affine

    def alternatives(self, table: Tables, node: ir.Node, labels: Labels) -> list[Passage]:
        """The ways through an operator, or the refusal of one that no affine passes."""
        if node in self.sources.left:
            raise Refusal(self.sources.left[node], name_of(node))
        carrier = table.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if carrier is None:
            reason = Reason.QUANTIZED if node.op_type in _QUANTIZERS else Reason.OPERATOR_STOPS
            raise Refusal(reason, name_of(node), detail=f"{node.op_type}")
        return list(carrier(self.reader, node, labels))


# -- backward ----------------------------------------------------------------------------------------------------
def plan_backward(reader: GraphReader, sources: Sources, run: Run, affine: Affine, residue: Affine) -> Plan:
    """Let the operators before ``run`` produce ``affine`` of what they produce now; ``residue`` stays at the run."""
    search = _Backward(reader, sources, run)
    state = _State()
    search.demand(state, run.nodes[0], run.sources[0].index, affine)
    state = search.advance(state)
    return Plan(run, "backward", residue, state.rewrites, state.merged, tuple(state.labels))


class _Backward(_Search):
    def demand(self, state: _State, node: ir.Node, index: int, affine: Affine) -> None:
        """``node`` wants the value at its input ``index`` to become ``affine`` of itself."""
        value = node.inputs[index]
        assert value is not None, "a carrier demands only of inputs that are there"
        if self.reader.is_constant(value):
            array = self.reader.constant(value)
            assert array is not None, "is_constant() was asked"
            folded = require_fits(affine.apply(array), self.reader.dtype(value), node)
            state.rewrites += (Rewrite(node, inputs={index: folded}),)
            return
        producer = value.producer()
        if producer is None:
            reason = Reason.OVERRIDABLE_INITIALIZER if self.reader.overridable(value) else Reason.GRAPH_INPUT
            raise Refusal(reason, name_of(node), value.name or "", f"{value.name} has no producer")
        if producer.graph is not node.graph:
            raise Refusal(Reason.CAPTURED, name_of(node), value.name or "")
        state.labels[value] = _both(state.labels.get(value), affine, node)
        state.claimed.setdefault(value, {})[node, index] = affine
        state.waiting[producer] = self.reader.order(producer)

    def advance(self, state: _State) -> _State:
        """Try the alternatives depth first until one ends well; raises the first refusal met where none does."""
        choices: list[_Choice] = []
        refused: list[Refusal] = []
        while True:
            try:
                node, passages = self.until_a_choice(state)
                if node is None:
                    return state
                choices.append(_Choice(state, node, iter(passages)))
            except Refusal as refusal:
                refused.append(refusal)
            following = self.next_alternative(choices, refused)
            if following is None:
                raise refused[0]
            state = following

    def next_alternative(self, choices: list[_Choice], refused: list[Refusal]) -> _State | None:
        """The state after the next passage of the last choice that has one left; None where none has."""
        while choices:
            choice = choices[-1]
            passage = next(choice.passages, None)
            if passage is None:
                choices.pop()
                continue
            state = choice.state.copy()
            try:
                self.pass_on(state, choice.node, passage)
            except Refusal as refusal:
                refused.append(refusal)
                continue
            return state
        return None

    def until_a_choice(self, state: _State) -> tuple[ir.Node | None, list[Passage]]:
        """Visit the operators that wait, last first; stops at one with alternatives, or when none waits any more."""
        while state.waiting:
            node = max(state.waiting, key=state.waiting.__getitem__)
            del state.waiting[node]
            self.count(node)
            labels = {i: state.labels[out] for i, out in enumerate(node.outputs) if out in state.labels}
            for index in labels:
                self.settle_readers(state, node.outputs[index])
            if self.absorbed(state, node, labels):
                continue
            passages = self.alternatives(carry.BACKWARD, node, labels)
            if len(passages) == 1:
                self.pass_on(state, node, passages[0])
                continue
            return node, passages
        return None, []

    def pass_on(self, state: _State, node: ir.Node, passage: Passage) -> None:
        if passage.rewrite is not None:
            state.rewrites += (passage.rewrite,)
        for index, affine in passage.labels.items():
            self.demand(state, node, index, affine)

    def settle_readers(self, state: _State, value: ir.Value) -> None:
        """Every reader of a value that changes must have asked for it, or be an affine that can undo it."""
        if value.is_graph_output():
            raise Refusal(Reason.GRAPH_OUTPUT, name_of(self.run.nodes[0]), value.name or "", f"output {value.name}")
        self.reader.readers(value)
        for use in value.uses():
            demanded = state.claimed[value].get((use[0], use[1]))
            if demanded is not None and demanded.same_as(state.labels[value]):
                continue
            if not self.sees_only_what_it_asked(state, value, *use) and demanded is None:
                self.undo_in(state, use[0], value)

    def sees_only_what_it_asked(self, state: _State, value: ir.Value, node: ir.Node, index: int) -> bool:
        """Whether the label of ``value`` reaches the reader's outputs as exactly what they asked for.

        A Slice of the keys sees nothing of a scale on the queries. False where the reader takes no part in the plan.
        """
        carrier = carry.FORWARD.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        wanted = {i: state.labels[out] for i, out in enumerate(node.outputs) if out in state.labels}
        claimed = (node, index) in state.claimed[value]
        if carrier is None or self.sources.at(node) is not None:
            if claimed:
                raise Refusal(Reason.READERS_DISAGREE, name_of(node), value.name or "")
            return False
        try:
            seen = carrier(self.reader, node, {index: state.labels[value]})[0]
        except Refusal:
            if claimed:
                raise
            return False
        if not claimed:  # what it passes on would come on top of what it asked of its other inputs
            return seen.rewrite is None and not seen.labels
        same = seen.rewrite is None and set(seen.labels) == set(wanted)
        same = same and all(seen.labels[i].same_as(wanted[i]) for i in wanted)
        if claimed and not same:
            raise Refusal(Reason.READERS_DISAGREE, name_of(node), value.name or "")
        return same

    def undo_in(self, state: _State, node: ir.Node, value: ir.Value) -> None:
        """Conv -> {BN1, BN2}: the first is folded, the second becomes the affine that leads from the first to it."""
        source = self.sources.at(node)
        label = state.labels[value]
        if value is not self.run.entry or source is None or source.entry is not value or not label.scale.all():
            raise Refusal(Reason.SEVERAL_READERS, name_of(node), value.name or "", f"it reads {value.name}")
        run = self.sources.run_from(source)
        require_digits_left(self.reader, label, (source.node, self.run.nodes[0]))
        state.merged += (self.merge(run, run.affine.after(label)),)

    def absorbed(self, state: _State, node: ir.Node, labels: Labels) -> bool:
        """Whether the operator takes the affine into its constants."""
        source = self.sources.at(node)
        if source is not None:
            self.take_into_run(state, self.sources.run_up_to(source), labels[0])
            return True
        absorber = absorb.absorber_for(absorb.BACKWARD, self.reader, node)
        if absorber is None:
            return False
        state.rewrites += (absorber(self.reader, node, labels),)
        return True

    def take_into_run(self, state: _State, run: Run, label: Affine) -> None:
        """Merge with a run; where that takes more operators, its shift is scaled and the scale goes on before it.

        s*(a*x + b) + t = a*(s*x) + (s*b + t).
        """
        try:
            state.merged += (self.merge(run, run.affine.then(label)),)
        except Refusal:
            through = Affine(run.affine.scale, compact(label.scale * run.affine.shift + label.shift))
            state.merged += (self.merge(run, through),)
            first = run.sources[0]
            self.demand(state, first.node, first.index, label.scale_only)


def _both(known: Affine | None, asked: Affine, node: ir.Node) -> Affine:
    """One affine for two readers that ask for different parts of a value; Refusal where they ask for the same part."""
    if known is None or known.same_as(asked):
        return asked
    ours = (known.scale != 1) | (known.shift != 0)
    theirs = (asked.scale != 1) | (asked.shift != 0)
    differ = (known.scale != asked.scale) | (known.shift != asked.shift)
    if (ours & theirs & differ).any():
        raise Refusal(Reason.READERS_DISAGREE, name_of(node))
    scale, shift = np.where(ours, known.scale, asked.scale), np.where(ours, known.shift, asked.shift)
    return Affine.of(scale, shift, known.rank)


# -- forward -----------------------------------------------------------------------------------------------------
def plan_forward(reader: GraphReader, sources: Sources, run: Run, affine: Affine, residue: Affine) -> Plan:
    """Let the operators behind ``run`` read what lacks ``affine``; ``residue`` stays at the run."""
    search = _Forward(reader, sources, run)
    state = _State()
    search.owe(state, run.nodes[-1], run.site, affine)
    search.advance(state)
    stays = () if residue.is_identity else (run.site,)
    changed = (*stays, *(value for value in state.labels if value is not run.site), *state.moved)
    return Plan(run, "forward", residue, state.rewrites, state.merged, changed, state.ends)


class _Forward(_Search):
    def owe(self, state: _State, node: ir.Node, value: ir.Value, affine: Affine) -> None:
        """From here on ``value`` lacks ``affine``: all its readers must know."""
        if value.is_graph_output():
            raise Refusal(Reason.GRAPH_OUTPUT, name_of(node), value.name or "", f"output {value.name}")
        readers = self.reader.readers(value)
        if not readers and value is self.run.site:
            raise Refusal(Reason.NO_CONSUMER, name_of(node), value.name or "")
        state.labels[value] = affine
        state.waiting.update((reader, self.reader.order(reader)) for reader in readers)

    def advance(self, state: _State) -> None:
        """Visit the operators that wait, first first, until nothing lacks anything."""
        while state.waiting:
            node = min(state.waiting, key=state.waiting.__getitem__)
            del state.waiting[node]
            self.count(node)
            labels = {i: state.labels[v] for i, v in enumerate(node.inputs) if v is not None and v in state.labels}
            if self.absorbed(state, node, labels) or self.given_to_addend(state, node, labels):
                continue
            passage = self.alternatives(carry.FORWARD, node, labels)[0]
            if passage.rewrite is not None:
                state.rewrites += (passage.rewrite,)
            state.moved += passage.moved
            state.ends += passage.ends
            for index, affine in passage.labels.items():
                self.owe(state, node, node.outputs[index], affine)

    def absorbed(self, state: _State, node: ir.Node, labels: Labels) -> bool:
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

    def given_to_addend(self, state: _State, node: ir.Node, labels: Labels) -> bool:
        """(x + t) + v = x + (v + t): what one addend lacks, another can be made to bring, such as a Conv's bias."""
        if node.op_type not in sums.OPERATORS or node.domain not in ("", "ai.onnx") or node in self.sources.left:
            return False
        if len(labels) != 1 or not all(label.has_no_scale for label in labels.values()):
            return False
        ((index, label),) = labels.items()
        for other in range(len(node.inputs)):
            try:
                shift = sums.moved_shift(self.reader, node, label, index, other)
                back = _Backward(self.reader, self.sources, self.run)
                gift = _State()
                back.demand(gift, node, other, shift)
                gift = back.advance(gift)
            except Refusal:
                continue
            if set(gift.labels) & set(state.labels) or any(rewrite.operators_added for rewrite in gift.rewrites):
                continue
            state.rewrites += gift.rewrites
            state.merged += gift.merged
            state.moved += tuple(gift.labels)
            state.ends += (node.outputs[0],)
            return True
        return False

    def without_new_add(self, state: _State, rewrite: Rewrite) -> tuple[Rewrite, ...]:
        """A MatMul's shift goes into the affine behind it, where there is one: most often the bias."""
        if rewrite.shift_after is None:
            return (rewrite,)
        out = rewrite.node.outputs[0]
        run = next(self.runs_behind(out), None)
        if run is None:
            return (rewrite,)
        shift = Affine.of(1.0, rewrite.shift_after, rewrite.shift_after.ndim)
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

    def take_into_run(self, state: _State, run: Run, label: Affine) -> None:
        """Merge with a run; where that takes more operators, divide its shift by the scale, which goes on behind it.

        a*(s*x + t) + b = s*(a*x + (a*t + b)/s).
        """
        try:
            state.merged += (self.merge(run, label.then(run.affine)),)
        except Refusal as refusal:
            if not label.scale.all():
                raise refusal
            shift = (run.affine.scale * label.shift + run.affine.shift) / label.scale
            state.merged += (self.merge(run, Affine(run.affine.scale, compact(shift))),)
            self.owe(state, run.nodes[-1], run.site, label.scale_only)
