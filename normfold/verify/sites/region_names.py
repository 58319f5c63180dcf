"""Compare two models region by region, where a name may mean one value in the first and another in the second.

A tool that merges two operators may give the result the name of what was between them. Then the region that makes the
value differs, and so does each region that begins with it. Without that name both are one region, which agrees. After a
fault the regions downstream agree, because they begin with the same values in both models.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from normfold.runtime.float32_copy import coarsest
from normfold.runtime.submodel import needed_for, submodel
from normfold.verify.checks.accepted_inputs import made_up_or_given
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question
from normfold.verify.regions.difference import DifferingRegion
from normfold.verify.regions.probe import TOO_LARGE, differing, folds_near, is_too_large, regions_of
from normfold.verify.result import Comparison, Equivalence, Site, Verification
from normfold.verify.sites.unobservable import unobservable_values
from normfold.verify.state import run_part

_ROUNDS = 8
"""So often names are left out because of what the regions show."""


def with_regions(question: Question, found: Verification, recorded: Sequence[Site]) -> Verification:
    """Return ``found``, or that the models differ where a region does. Recorded sites mean one value in both."""
    if not found or coarsest(question.original) != coarsest(question.candidate):
        return found
    if is_too_large(question):
        return replace(found, notes=(*found.notes, TOO_LARGE))
    feed = _first_feed(question, found)
    if feed is None:
        return found
    outputs = set(question.original.output_names)
    sure, hidden = outputs | {site.value for site in recorded}, set[str]()
    folds = {value: tuple(s.fold for s in recorded if s.value == value) for value in sure - outputs}
    question = _with_share(replace(question, folds=folds), feed)
    worst: list[Comparison] = []
    for _ in range(_ROUNDS):
        regions = regions_of(question)
        failing = {each.value: each for each in differing(question, feed, regions)}
        if not failing:
            return _equal(found, hidden)
        worst = worst or list(failing.values())
        wrong = _renamed(question, [each for each in regions if each.target in failing], sure)
        if not wrong:
            wrong = unobservable_values(replace(question, folds={}), failing.keys() - sure)
            hidden |= wrong
        if not wrong:
            break
        question = question.without(question.left_out | wrong)
    return _different(question, found, worst)


def _first_feed(question: Question, found: Verification) -> Feed | None:
    """Return the first feed of the proof before; it is known by its text, so nothing has to run."""
    feeds = (feed for index in range(max(question.options.feeds, 1)) for feed in made_up_or_given(question, index))
    return next((feed for feed in feeds if feed.text in found.feeds[:1]), None)


def _with_share(question: Question, feed: Feed) -> Question:
    """Return the question with what a tolerance of the user means as a share, if there is one."""
    if not question.options.is_explicit:
        return question
    plain = submodel(question.original, question.original.output_names, {})
    with question.open(plain.model) as runner:
        return question.sharing(run_part(runner, plain, feed, {}))


def _renamed(question: Question, failing: list[DifferingRegion], sure: Set[str]) -> set[str]:
    """Names that may mean another value, because what is computed from them fails too: the first of them."""
    needed = {each.target: needed_for(question.original, each.boundary) | set(each.boundary) for each in failing}
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


def _different(question: Question, found: Verification, failing: list[Comparison]) -> Verification:
    """Return the verdict with the regions that fail; each names the operator that makes its value."""
    nodes = question.original.graph.node
    rows = []
    for each in failing:
        node = nodes[question.original.producers[each.value]]
        near = each.folds or folds_near(question, each.value)
        rows.append(replace(each, folds=near or (node.name or f"{node.op_type} of {each.value}",)))
    names = tuple(dict.fromkeys(fold for row in rows for fold in row.folds))
    return replace(found, verdict=Equivalence.DIFFERENT, sites=(*found.sites, *rows), failing_folds=names)
