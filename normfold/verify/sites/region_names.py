"""Compare two models region by region, where a name may mean one value in the first and another in the second.

A tool that merges two operators may give the result the name of what was between them. Then the region that makes the
value differs, and so does each region that begins with it. Without that name both are one region, which agrees. After a
fault the regions downstream agree, because they begin with the same values in both models.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from normfold.runtime.float32_copy import coarsest
from normfold.runtime.session import ModelRunError
from normfold.runtime.submodel import needed_for, submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.regions.difference import DifferingRegion
from normfold.verify.regions.probe import differing, folds_near, regions_of
from normfold.verify.result import Comparison, Equivalence, Site, Verification
from normfold.verify.sites.unobservable import unobservable_values
from normfold.verify.state import ProofState, run_part

_ROUNDS = 8
"""So often names are left out because of what the regions show."""


def with_regions(proof: ProofState, found: Verification, recorded: Sequence[Site]) -> Verification:
    """Return ``found``, or that the models differ where a region does. Recorded sites mean one value in both."""
    if not found or coarsest(proof.original) != coarsest(proof.candidate) or not _has_feed(proof):
        return found
    outputs = set(proof.original.output_names)
    sure, hidden = outputs | {site.value for site in recorded}, set[str]()
    proof.folds = {value: tuple(s.fold for s in recorded if s.value == value) for value in sure - outputs}
    first: list[Comparison] = []
    for _ in range(_ROUNDS):
        regions = regions_of(proof)
        failing = {each.value: each for each in differing(proof, regions)}
        if not failing:
            return _equal(found, hidden)
        first = first or list(failing.values())
        wrong = _renamed(proof, [each for each in regions if each.target in failing], sure)
        if not wrong:
            wrong = unobservable_values(proof.afresh(proof.left_out), failing.keys() - sure)
            hidden |= wrong
        if not wrong:
            break
        proof.left_out |= wrong
    return _different(proof, found, first)


def _has_feed(proof: ProofState) -> bool:
    """Run the original once, for a feed that it accepts."""
    plain = submodel(proof.original, proof.original.output_names, {})
    try:
        with proof.open(plain.model) as runner:
            feed, _ = next(accepted_feeds(proof, lambda _, feed: run_part(runner, plain, feed, {})))
    except ModelRunError:
        return False
    proof.feeds.append(feed)
    return True


def _renamed(proof: ProofState, failing: list[DifferingRegion], sure: Set[str]) -> set[str]:
    """Names that may mean another value, because what is computed from them fails too: the first of them."""
    needed = {each.target: needed_for(proof.original, each.boundary) | set(each.boundary) for each in failing}
    suspects = {
        name for name in needed if any(name in names for other, names in needed.items() if other != name)
    } - sure
    return {name for name in suspects if suspects.isdisjoint(needed[name])} or suspects


def _equal(found: Verification, hidden: Set[str]) -> Verification:
    if not hidden:
        return found
    names = sorted(hidden)
    text = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return replace(found, notes=(*found.notes, f"{text}: another value, but no output reads what differs"))


def _different(proof: ProofState, found: Verification, failing: list[Comparison]) -> Verification:
    """Return the verdict with the regions that fail; each names the operator that makes its value."""
    nodes = proof.original.graph.node
    rows = []
    for each in failing:
        node = nodes[proof.original.producers[each.value]]
        near = each.folds or folds_near(proof, each.value)
        rows.append(replace(each, folds=near or (node.name or f"{node.op_type} of {each.value}",)))
    names = tuple(dict.fromkeys(fold for row in rows for fold in row.folds))
    return replace(found, verdict=Equivalence.DIFFERENT, sites=(*found.sites, *rows), failing_folds=names)
