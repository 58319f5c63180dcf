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
from normfold.runtime.submodel import first_downstream, submodel
from normfold.verify.checks.accepted_inputs import made_up_or_given
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import NOISE_DOMINATED, Question
from normfold.verify.regions.probe import FEW_FEEDS, TOO_LARGE, Known, compared_regions, is_too_large, regions_of
from normfold.verify.result import Comparison, Equivalence, Site, Verification
from normfold.verify.sites.metadata import from_text
from normfold.verify.sites.unobservable import unobservable_values
from normfold.verify.state import run_part

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


def with_regions(question: Question, found: Verification, recorded: Sequence[Site]) -> Verification:
    """Return what the outputs say (``found``) with what the regions say, each named by the folds that made it."""
    feed = _first_feed(question, found)
    if feed is None or coarsest(question.original) != coarsest(question.candidate):
        return found
    if is_too_large(question):
        return replace(found, notes=(*found.notes, TOO_LARGE))
    if not found and _is_quantized(question.original) != _is_quantized(question.candidate):
        note = "one of the models is quantized, so they were not compared fold by fold"
        return replace(found, notes=(*found.notes, note))
    question = _with_share(replace(question, folds=_folds(question, recorded)), feed)
    compared, renamed = _without_renamed(_Compared.of(question, feed, {}))
    hidden: set[str] = set()
    if found:
        compared, hidden = _without_unobservable(compared, kept={site.value for site in recorded})
    notes = (
        *found.notes,
        *_note("not compared: {}, because the name means another value in the second model", renamed),
        *_note("{}: another value, but no output reads what differs", hidden),
        *dict.fromkeys(each.note for each in compared.agreeing if each.note == FEW_FEEDS),
    )
    if compared.failing:
        return _different(question, replace(found, notes=notes), compared.failing)
    rows = tuple(each for each in compared.agreeing if each.folds)
    if rows and found.verdict is Equivalence.INCONCLUSIVE and all(each.noise_dominated for each in found.failures):
        outputs = tuple(replace(each, passed=True) for each in found.outputs)
        found = replace(found, verdict=Equivalence.EQUIVALENT, outputs=outputs)
        notes = (*notes, f"every fold is right; at the outputs {NOISE_DOMINATED}")
    return replace(found, sites=(*found.sites, *rows), notes=notes)


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
        """Compare the regions; ``known`` are those that agreed before."""
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
        trial = _settled(compared, first)
        proved = {name for name in first if left[name].isdisjoint(trial.wrong)}
        if proved:
            compared = trial if proved == first else _settled(compared, proved)
            renamed |= proved
    left_over = set(compared.downstream())
    trial = _settled(compared, left_over) if left_over and compared.wrong - left_over else compared
    return (trial, renamed | left_over) if compared.failing and not trial.failing else (compared, renamed)


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


def _folds(question: Question, recorded: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """Return the folds of each value that both models have; those inside a body belong to what its operator makes."""
    original, found = question.original, dict[str, dict[str, None]]()
    both = original.producers.keys() & question.candidate.producers.keys()
    shown: dict[str, list[str]] = {}
    for site in recorded:
        parts = site.graph.split(".")
        outer = (".".join(parts[:count]) for count in range(1, len(parts)))
        name = next((name for name in outer if name in both), "") if site.graph else site.value
        if name in original.producers and name not in shown:
            shown[name] = [name] if name in both else first_downstream(original, name, both)
        for value in shown.get(name, ()):
            found.setdefault(value, {})[site.fold] = None
    return {value: tuple(folds) for value, folds in found.items()}


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


def _note(text: str, names: Set[str]) -> Iterator[str]:
    if names:
        some = sorted(names)
        yield text.format(", ".join(some[:3]) + (f" and {len(some) - 3} more" if some[3:] else ""))


def _different(question: Question, found: Verification, failing: Sequence[Comparison]) -> Verification:
    """Return the verdict with the regions that fail; each names the operator that makes its value."""
    nodes = question.original.graph.node
    rows = []
    for each in failing:
        node = nodes[question.original.producers[each.value]]
        rows.append(replace(each, folds=each.folds or (node.name or f"{node.op_type} of {each.value}",)))
    names = tuple(dict.fromkeys(fold for row in rows for fold in row.folds))
    sites = (*found.sites, *rows)
    return replace(found, verdict=Equivalence.DIFFERENT, sites=sites, failing_folds=names)
