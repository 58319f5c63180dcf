"""Compare two models region by region, where no caller says which values to compare.

A name may mean one value in the first model and another in the second: a tool that merges two operators may give the
result the name of what was between them. Then the region that makes the value differs, and so does each region that
begins with it. Without that name both are one region, which agrees. After a fault the regions downstream agree, because
they begin with the same values in both models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from normfold.runtime.float32_copy import coarsest
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.metadata_keys import SITES_KEY
from normfold.runtime.submodel import downstream, first_downstream
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import NOISE_DOMINATED, Question
from normfold.verify.regions.probe import FEW_FEEDS, Known, compared_regions, regions_of
from normfold.verify.result import Comparison, Equivalence, Site, Verification
from normfold.verify.sites.metadata import from_text
from normfold.verify.sites.targets import inlined_sites
from normfold.verify.sites.unobservable import unobservable_values
from normfold.verify.state import ProofState

_ROUNDS = 8
"""So often names are left out because of what the regions show."""


def recorded_sites(question: Question) -> tuple[Question, list[Site]]:
    """Return what either model records of its sites in its metadata, and the question with notes.

    They say which folds made a value.
    """
    found: dict[Site, None] = {}
    for which, model in (("second", question.candidate), ("first", question.original)):
        sites, fault = from_text(model.recorded)
        found |= dict.fromkeys(sites)
        if fault:
            question = question.noting(
                f"{SITES_KEY} in the metadata of the {which} model is not as normfold writes it: {fault}; ignored"
            )
    return question, list(found)


def with_regions(proof: ProofState, found: Verification, sites: Sequence[Site]) -> Verification:
    """Return what the outputs say (``found``) with what the regions say, each named by the folds that made it.

    Where the caller names the sites, each of their values is one that both models compute.
    """
    question = proof.question
    if not found.feeds or coarsest(question.original) != coarsest(question.candidate):
        return found
    if not (found or question.is_by_fold) and _is_quantized(question.original) != _is_quantized(question.candidate):
        note = "one of the models is quantized, so they were not compared fold by fold"
        return replace(found, notes=(*found.notes, note))
    question, sites = inlined_sites(question, sites, proof.record.feeds[0])
    inlined = question.original.producers.keys() - proof.question.original.producers.keys()
    question = replace(question.sharing(proof.record.references[0]), folds=_folds(question, sites))
    compared = _Compared.of(question, proof.record.feeds[0], {})
    renamed, hidden = set[str](), set[str]()
    if not question.is_by_fold:
        compared, renamed = _without_renamed(compared)
        if found:
            compared, hidden = _without_unobservable(compared, kept={*inlined, *(site.value for site in sites)})
    notes = (
        *found.notes,
        *_note("not compared: {}, because the name means another value in the second model", renamed),
        *_note("{}: another value, but no output reads what differs", hidden),
        *dict.fromkeys(each.note for each in compared.agreeing if each.note == FEW_FEEDS),
    )
    if compared.failing:
        return _different(question, replace(found, notes=notes), compared.failing)
    rows = tuple(each for each in compared.agreeing if each.folds)
    if rows and found.verdict is Equivalence.INCONCLUSIVE and _is_decided(question, found):
        outputs = tuple(replace(each, passed=True) for each in found.outputs)
        why = f"every fold is right; at the outputs {NOISE_DOMINATED}"
        found = replace(found, verdict=Equivalence.EQUIVALENT, outputs=outputs)
        notes = (*proof.record.notes, *notes[len(found.notes) :], *[why] * any(c.noise_dominated for c in outputs))
    return replace(found, sites=(*found.sites, *rows), notes=notes)


def _is_decided(question: Question, found: Verification) -> bool:
    """Return whether regions that agree are enough, though the outputs say nothing: they are noise, or random.

    Random operators must be those of the original.
    """
    changed = {target for each in regions_of(question) for target in each.targets}
    return changed.isdisjoint(question.random_values) and all(each.noise_dominated for each in found.failures)


@dataclass(frozen=True)
class _Compared:
    """The regions between the values that a question leaves in, and what their own feeds say of them."""

    question: Question
    feed: Feed
    known: Known
    failing: Sequence[Comparison]
    agreeing: Sequence[Comparison]

    @classmethod
    def of(cls, question: Question, feed: Feed, known: Known) -> _Compared:
        """Compare the regions; ``known`` are those that were fed before."""
        found = list(compared_regions(question, feed, regions_of(question), known))
        failing, agreeing = ([each for each in found if each.passed is passed] for passed in (False, True))
        return cls(question, feed, known, failing, agreeing)

    @property
    def wrong(self) -> set[str]:
        """Return the values of the regions that fail."""
        return {each.value for each in self.failing}

    def without(self, names: Set[str]) -> _Compared:
        """Return the same between fewer values."""
        return _Compared.of(self.question.without(self.question.left_out | names), self.feed, self.known)

    def downstream(self) -> dict[str, set[str]]:
        """Return the failing values but the outputs, each with the first failing values that are computed from it."""
        original, wrong = self.question.original, self.wrong
        found = {name: set(first_downstream(original, name, wrong)) for name in wrong - set(original.output_names)}
        return {name: values for name, values in found.items() if values}

    def wrong_from_before(self, names: Set[str], targets: Set[str]) -> set[str]:
        """Return those of ``targets`` that are wrong too when computed from before ``names``, and nothing between."""
        original = self.question.original
        between = set().union(*(downstream(original, name, self.wrong) for name in names)) - self.wrong
        left_out = names | between.difference(original.output_names)
        question = self.question.without(self.question.left_out | left_out)
        regions = [each for each in regions_of(question) if not targets.isdisjoint(each.targets)]
        return {each.value for each in compared_regions(question, self.feed, regions, self.known) if not each.passed}


def _without_renamed(compared: _Compared) -> tuple[_Compared, set[str]]:
    """Leave out the names without which all that is computed from them agrees, and return those.

    First each that is computed from no other such; where that proves nothing of any, all of them together.
    """
    renamed: set[str] = set()
    decided: set[str] = set()
    for _ in range(_ROUNDS):
        left = {name: values for name, values in compared.downstream().items() if name not in decided}
        if not left:
            break
        first = (left.keys() - set().union(*left.values())) or set(left)
        decided |= first
        wrong = compared.wrong_from_before(first, set().union(*(left[name] for name in first)))
        proved = {name for name in first if left[name].isdisjoint(wrong)}
        if proved:
            compared = _settled(compared, proved)
            renamed |= proved
    left_over = set(compared.downstream())
    if left_over and not compared.wrong_from_before(left_over, compared.wrong - left_over):
        trial = _settled(compared, left_over)
        if not trial.failing:
            return trial, renamed | left_over
    return compared, renamed


def _settled(compared: _Compared, names: Set[str]) -> _Compared:
    """Return the regions without names, and without what is computed from these by the same operators."""
    trial = compared.without(names)
    for _ in range(_ROUNDS):
        more = trial.wrong - compared.wrong - set(compared.question.original.output_names)
        if not more:
            break
        trial = trial.without(more)
    return trial


def _without_unobservable(compared: _Compared, kept: Set[str]) -> tuple[_Compared, set[str]]:
    """Leave out values that differ where no output reads them, but for those of ``kept``, and return them."""
    hidden: set[str] = set()
    for _ in range(_ROUNDS):
        wrong = unobservable_values(replace(compared.question, folds={}), compared.wrong - kept)
        if not wrong:
            break
        hidden |= wrong
        compared = compared.without(wrong)
    return compared, hidden


def _is_quantized(model: LoadedModel) -> bool:
    return any(re.search("[Qq]uant|^QLinear|Integer$|NBits$", operator) for operator in model.operators)


def _folds(question: Question, sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """Return the folds of each value that both models have.

    A site that is gone is shown by the first values downstream, one in a body by what the operator with the body makes.
    """
    original, found = question.original, dict[str, dict[str, None]]()
    both = original.producers.keys() & question.candidate.producers.keys()
    shown = dict[str, list[str]]()
    for site in sites:
        parts = site.graph.split(".")
        outer = (".".join(parts[:count]) for count in range(1, len(parts)))
        name = next((name for name in outer if name in both), "") if site.graph else site.value
        if name in original.producers and name not in shown:
            shown[name] = [name] if name in both else first_downstream(original, name, both)
        for value in shown.get(name, ()):
            found.setdefault(value, {})[site.fold] = None
    return {value: tuple(folds) for value, folds in found.items()}


def _note(text: str, names: Set[str]) -> Iterator[str]:
    if names:
        some = sorted(names)
        yield text.format(", ".join(some[:3]) + (f" and {len(some) - 3} more" if some[3:] else ""))


def _different(question: Question, found: Verification, failing: Sequence[Comparison]) -> Verification:
    """Return the verdict with the regions that fail.

    Each names its folds, or those of the first sites downstream; without folds, the operator that makes its value.
    """
    nodes, by_fold = question.original.graph.node, question.is_by_fold
    rows = []
    for each in failing:
        node = nodes[question.original.producers[each.value]]
        operator = (node.name or f"{node.op_type} of {each.value}",)
        rows.append(replace(each, folds=each.folds or (_folds_near(question, each.value) if by_fold else operator)))
    names = tuple(dict.fromkeys(fold for row in rows for fold in row.folds))
    sites = (*found.sites, *rows)
    return replace(found, verdict=Equivalence.DIFFERENT, sites=sites, failing_folds=names)


def _folds_near(question: Question, value: str) -> tuple[str, ...]:
    """Return the folds of the first sites downstream of a value that is no site itself."""
    sites = first_downstream(question.original, value, question.folds.keys())
    return tuple(dict.fromkeys(fold for site in sites for fold in question.folds[site]))
