"""Find the folds that take apart what the runtime executes as one operator.

Original and candidate go through ONNX Runtime's own optimizer; nothing is run. Where the candidate has fewer fused
norms, attentions, activations or quantized products than the original, folds next to the lost ones are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from normfold.findings.verdict import Verdict
from normfold.fuse.engine import NO_NORM, find_norms
from normfold.graph.display_names import name_of
from normfold.rewrite import Build
from normfold.runtime.fused_operators import (
    FusedOperator,
    fused_operators,
    lost_operators,
    may_have_fused_operators,
)

_ROUNDS = 6  # builds of a candidate that one search may ask for


def folds_that_break_fusions(original: ir.Model, build: Build) -> tuple[frozenset[str], bool]:
    """Return the names of findings that ``build`` must leave so that the runtime fuses as much as in ``original``.

    ``build`` takes names to leave and returns the rewritten model with its verdicts. No name is returned where nothing
    is lost, and where the runtime does not load one of the models. The second result says whether it is enough to leave
    them; it is not where something is lost by the cleanup alone.
    """
    if not may_have_fused_operators(original):
        return frozenset(), True
    before = fused_operators(original) or ()
    excluded: frozenset[str] = frozenset()
    for _ in range(_ROUNDS if before else 0):
        model, verdicts = build(excluded)
        changes = [verdict for verdict in verdicts if verdict.is_changed]
        after = None if model is original else fused_operators(model)
        lost = () if after is None else _right(original, lost_operators(before, after))
        if not (lost and changes):
            computed = {value.name for node in model.graph for value in node.outputs}
            return excluded, not any(each.output in computed for each in lost)  # what is constant now is no loss
        suspects = _next_to(original, lost, changes)
        excluded |= suspects or {verdict.finding.name for verdict in changes}
    return frozenset(), True


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
