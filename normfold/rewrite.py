"""Fuse and fold one model in place, by the options; one verdict for each finding of the model as it came.

Norms go first: a norm that is one operator keeps its gamma and beta for free, and takes the affines around it, which
would otherwise be carried into weights one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from operator import attrgetter
from types import MappingProxyType

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.findings.rules import CONSTANT, RULE_NAMES, Selection, check_names
from normfold.findings.verdict import Finding, Verdict
from normfold.fold.cleanup.tidy import tidy
from normfold.fold.engine import find_affines, fold_affines
from normfold.fuse.activations import fuse_activations
from normfold.fuse.center import center_norms
from normfold.fuse.engine import find_norms, fuse_norms
from normfold.operators.table import RESHAPES, is_standard
from normfold.options import RewriteOptions
from normfold.targets.table import target_of

_MOVES = RESHAPES | {"Transpose", "Split"}
Build = Callable[[frozenset[str]], tuple[ir.Model, Sequence[Verdict]]]


def rewrite(
    model: ir.Model, options: RewriteOptions, excluded: Mapping[str, Reason] = MappingProxyType({})
) -> tuple[Verdict, ...]:
    """Rewrite ``model`` and clean it up; findings in ``excluded`` stay, each for its reason.

    With ``only``, a model in which nothing was asked for is not cleaned up. Raises UsageError for a name, target or
    operator set that is none.
    """
    wanted = _checked(model, Selection.of(options, exclude=excluded))
    fused = (*fuse_norms(model, wanted), *fuse_activations(model, wanted))
    folded = fold_affines(model, wanted)
    if options.center:  # once the scales of layers are in their weights
        fused = (*center_norms(model, wanted), *fused)
        folded = (*folded, *(verdict for verdict in fold_affines(model, wanted) if verdict.is_changed))
    verdicts = _one_each((*fused, *folded))
    if not options.only or any(verdict.is_changed for verdict in verdicts):
        verdicts = _one_each((*verdicts, *_tidied(model, wanted)))
    return verdicts


def _tidied(model: ir.Model, wanted: Selection) -> Iterator[Verdict]:
    """Tidy a model, and change what that brings together.

    What was computed twice may be the root of a norm now; an operator and a sum that met in two shapes meet in one.
    """
    known: set[Finding] = set()  # a norm of a constant that is not stored again is found each time
    while True:
        views = _views(model)
        tidy(model, constants=wanted.allows(CONSTANT))
        found = (verdict for verdict in fuse_norms(model, wanted) if verdict.is_changed)
        more = [verdict for verdict in found if verdict.finding not in known]
        known.update(verdict.finding for verdict in more)
        if not more and _views(model) >= views:
            return
        yield from more
        yield from (verdict for verdict in fold_affines(model, wanted) if verdict.is_changed)


def _views(model: ir.Model) -> int:
    """Count the operators that only move elements, and hide one operator from another."""
    return sum(node.op_type in _MOVES and is_standard(node) for node in model.graph.all_nodes())


def findings_that_worsen(
    original: ir.Model, build: Build, times_as_good: Callable[[ir.Model, ir.Model], float], limit: float
) -> frozenset[str]:
    """Return the names of findings without which the rewritten model is better, or no worse than ``original``.

    ``build`` takes names to leave and returns the rewritten model with its verdicts; ``times_as_good(a, b)`` says how
    many times better b is, in speed or size, and ``limit`` how many times worse is no matter. Where the model as built
    is good enough, nothing is left out. Otherwise the findings of each rule are tried in turn, and kept out where that
    is better; where the model is still worse than ``original``, all are left out if that is better.
    """
    best, verdicts = build(frozenset())
    changes = [verdict for verdict in verdicts if verdict.is_changed]
    if not changes or times_as_good(original, best) * limit >= 1:
        return frozenset()
    left: frozenset[str] = frozenset()
    for rule in dict.fromkeys(verdict.rule for verdict in changes):
        without = left | {verdict.finding.name for verdict in changes if verdict.rule == rule}
        other, _ = build(without)
        if times_as_good(best, other) > limit:
            left, best = without, other
    everything = frozenset(verdict.finding.name for verdict in changes)
    if times_as_good(original, best) * limit < 1 and times_as_good(best, build(everything)[0]) > limit:
        return everything
    return left


def _one_each(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """One verdict for each name: what was done to an operator counts, else what was said first."""
    by_name: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        key = verdict.finding.graph, verdict.finding.name
        if key not in by_name or (verdict.is_changed and not by_name[key].is_changed):
            by_name[key] = verdict
    parts = {
        (v.finding.graph, name): v for v in sorted(by_name.values(), key=attrgetter("is_changed")) for name in v.parts
    }
    return tuple(
        verdict
        for key, verdict in by_name.items()
        if verdict.is_changed or key not in parts or (verdict.finding.is_norm and not parts[key].is_changed)
    )


def _checked(model: ir.Model, wanted: Selection) -> Selection:
    """Check rules, names, target and operator set, and replace patterns in ``skip`` by the names that they match.

    Findings are only looked for where a name asks for it.
    """
    check_names(wanted.only, option="only")
    target_of(wanted)
    if set(wanted.skip) <= set(RULE_NAMES):
        return wanted
    names = {finding.name for finding in (*find_affines(model), *find_norms(model, wanted))}
    names |= {node.name for node in model.graph.all_nodes() if node.name}
    check_names(wanted.skip, names)
    matching = {name for pattern in wanted.skip for name in names if fnmatchcase(name, pattern)}
    return replace(wanted, skip=(*wanted.skip, *sorted(matching)))
