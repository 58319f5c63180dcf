"""Find the folds that take apart what the runtime executes as one operator.

Original and candidate go through ONNX Runtime's own optimizer; nothing is run. Where the candidate has fewer fused
norms, attentions, activations or quantized products than the original, folds next to the lost ones are left out. A
fused operator that is slower than what it is made of is hindered where the original has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.findings.verdict import Verdict
from normfold.fuse.engine import NO_NORM, find_norms
from normfold.graph.display_names import name_of
from normfold.operators.table import is_standard
from normfold.rewrite import Build
from normfold.runtime.fused_operators import (
    FusedOperator,
    fused_operators,
    lost_operators,
    may_have_fused_operators,
)

SKIP = "SkipLayerNormalization"
_ROUNDS = 6  # builds of a candidate that one search may ask for


@dataclass(frozen=True)
class Guarded:
    """The names of findings to leave, whether that is enough, and what the runtime executes as one then and before."""

    left: frozenset[str] = frozenset()
    is_enough: bool = True
    before: tuple[FusedOperator, ...] = ()
    after: tuple[FusedOperator, ...] = ()

    @property
    def new_skips(self) -> frozenset[str]:
        """The results of each SkipLayerNormalization that the original has not, by name, where there are more now."""
        before, after = (
            {each.output for each in fused if each.operator == SKIP} for fused in (self.before, self.after)
        )
        return frozenset(after - before) if len(after) > len(before) else frozenset()


def folds_that_break_fusions(original: ir.Model, build: Build) -> Guarded:
    """Find the names of findings that ``build`` must leave so that the runtime fuses as much as in ``original``.

    ``build`` takes names to leave and returns the rewritten model with its verdicts. No name is found where nothing is
    lost, and where the runtime does not load one of the models. It is not enough to leave them where something is lost
    by the cleanup alone.
    """
    if not may_have_fused_operators(original):
        return Guarded()
    before = fused_operators(original) or ()
    excluded: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        model, verdicts = build(excluded)
        changes = [verdict for verdict in verdicts if verdict.is_changed]
        is_asked = model is not original and (
            before or any(node.op_type == "LayerNormalization" for node in model.graph)
        )
        after = fused_operators(model) if is_asked else None
        lost = () if after is None else _right(original, lost_operators(before, after))
        if not (lost and changes):
            computed = {value.name for node in model.graph for value in node.outputs}
            is_enough = not any(each.output in computed for each in lost)  # what is constant now is no loss
            return Guarded(excluded, is_enough, before, after or ())
        suspects = _next_to(original, lost, changes)
        excluded |= suspects or {verdict.finding.name for verdict in changes}
    return Guarded()


def hinder_skips(model: ir.Model, norms: Collection[str]) -> int:
    """Write the Add before each LayerNormalization whose result is named as Sum, which is the same; return how many.

    ONNX Runtime makes no SkipLayerNormalization of that.
    """
    read = [node.inputs[0] for node in model.graph if node.outputs and node.outputs[0].name in norms]
    sums = [node for value in read if value is not None and (node := value.producer()) is not None]
    adds = [node for node in sums if node.op_type == "Add" and is_standard(node)]
    for node in adds:
        node.op_type = "Sum"
    return len(adds)


def _right(original: ir.Model, fused: Sequence[FusedOperator]) -> tuple[FusedOperator, ...]:
    """Return those of ``fused`` that are no norms which the runtime sees in arithmetic that is none."""
    missed = {norm.site for norm in find_norms(original) if norm.what == NO_NORM} if fused else set()
    values = {value.name: value for node in original.graph for value in node.outputs}
    return tuple(
        each
        for each in fused
        if not missed
        or each.output not in values
        or not missed.intersection(_names(_between(values[each.output], frozenset(each.inputs))))
    )


def _next_to(original: ir.Model, lost: Sequence[FusedOperator], changes: Sequence[Verdict]) -> frozenset[str]:
    """Return the changes in or next to the operators that the runtime made the lost ones of."""
    values = {value.name: value for node in original.graph for value in node.outputs}
    near: set[str] = set()
    for each in lost:
        if each.output in values:
            near.update(_names(_around(values[each.output], frozenset(each.inputs))))
    return frozenset(
        verdict.finding.name
        for verdict in changes
        if near & {verdict.finding.name, verdict.finding.site, *verdict.into, *verdict.sites}
    )


def _around(output: ir.Value, inputs: frozenset[str]) -> Iterator[ir.Node]:
    """Return the operators between ``inputs`` and ``output``, and those that make or read these values."""
    yield from _between(output, inputs, producers=True)
    yield from output.consumers()


def _between(output: ir.Value, inputs: frozenset[str], *, producers: bool = False) -> Iterator[ir.Node]:
    """Return the operators between ``inputs`` and ``output``; with ``producers`` also those that make ``inputs``."""
    waiting, seen = [output], {output}
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or (value.name in inputs and not producers):
            continue
        yield node
        if value.name in inputs:
            continue
        operands = [each for each in node.inputs if each is not None and each not in seen]
        seen.update(operands)
        waiting += operands


def _names(nodes: Iterator[ir.Node]) -> Iterator[str]:
    for node in nodes:
        yield name_of(node)
        yield from (value.name or "" for value in node.outputs)
