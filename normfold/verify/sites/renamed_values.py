"""Sites that the models record in their metadata (``metadata.py``): which are compared, and what a failing one means.

A fold never leaves a name on a value that it changed, so names of what normfold wrote mean what they mean in the
original. Another tool may have changed the file since, and one that merges two operators may give the result the name
of what was between them. Then that value differs, and so does whatever is fed with the original's in its place, but
not what is computed from its own. After a fault what is fed with the original's value is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import onnx

from normfold.runtime.float32_copy import coarsest
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.metadata_keys import SITES_KEY
from normfold.runtime.submodel import submodel
from normfold.verify.question import Question
from normfold.verify.result import Equivalence, Site, Verification
from normfold.verify.sites.changed_weights import changed_weight_sites
from normfold.verify.sites.metadata import from_text
from normfold.verify.sites.region_names import with_regions
from normfold.verify.sites.subgraph_copies import body_paths
from normfold.verify.sites.unobservable import unobservable_values

Prove = Callable[[Question, Sequence[Site]], Verification]
"""What answers a question at some sites."""

_ROUNDS = 6
"""How often names are decided by what is behind them."""

_MUCH = 8
"""An error that is so many times smaller is another one."""


def recorded_sites(question: Question) -> tuple[Question, list[Site]]:
    """Return what either model records of its sites, as far as it is of use here, and the question with notes.

    A tolerance of the user is one for outputs, and a model in another precision differs at every value.
    """
    found: dict[Site, None] = {}
    for which, model in (("second", question.candidate), ("first", question.original)):
        sites, fault = from_text(model.recorded)
        found |= dict.fromkeys(sites)
        if fault:
            question = question.noting(
                f"{SITES_KEY} in the metadata of the {which} model is not as normfold writes it: {fault}; ignored"
            )
    if not found or question.options.is_explicit or coarsest(question.original) != coarsest(question.candidate):
        return question, []
    if _is_quantized(question.original) != _is_quantized(question.candidate):
        question = question.noting("one of the models is quantized, so they were not compared fold by fold")
        return question, []
    made = question.original.producers
    paths = (
        body_paths(question.original) & body_paths(question.candidate) if any(site.graph for site in found) else set()
    )
    return question, [site for site in found if (site.graph in paths if site.graph else site.value in made)]


def _is_quantized(model: LoadedModel) -> bool:
    return any(re.search("[Qq]uant|^QLinear|Integer$|NBits$", operator) for operator in model.operators)


def by_names(question: Question, prove: Prove) -> Verification:
    """Return what ``prove`` says of two models that may record their sites."""
    question, recorded = recorded_sites(question)
    found, left_out = _at_named_sites(question, recorded, prove)
    trusted = [site for site in recorded if site.value not in left_out]
    return with_regions(question.without(left_out), found, trusted)


def _at_named_sites(question: Question, recorded: Sequence[Site], prove: Prove) -> tuple[Verification, frozenset[str]]:
    """Return what the sites say, and the values whose names mean other values."""
    of_weights = (
        []
        if question.options.is_explicit
        else changed_weight_sites(question.original, question.candidate, bool(recorded))
    )
    known = {site.value for site in recorded}
    of_weights = [site for site in of_weights if site.value not in known]
    found, left_out = with_recorded_sites(question, [*recorded, *of_weights], prove)
    hidden = {c.value for c in found.sites if not c.passed}.intersection(site.value for site in of_weights)
    unobservable = unobservable_values(question, hidden) if hidden and prove(question, ()) else set()
    if not unobservable:
        return found, left_out
    left = [*recorded, *(site for site in of_weights if site.value not in unobservable)]
    found, left_out = with_recorded_sites(question, left, prove)
    note = f"{_some(sorted(unobservable))}: another value, but no output reads what differs"
    return replace(found, notes=(*found.notes, note)), left_out | unobservable


def with_recorded_sites(question: Question, sites: Sequence[Site], prove: Prove) -> tuple[Verification, frozenset[str]]:
    """Return what ``prove`` says with ``sites``, as far as their names can be trusted, and those that cannot."""

    def without(values: Iterable[str]) -> _Attempt:
        tried = question.without(frozenset(values))
        found = prove(tried, sites)
        return _Attempt(found, _suspects(tried, found), tried.left_out)

    trial = without(())
    is_undecided = bool(sites) and trial.found.verdict is Equivalence.INCONCLUSIVE
    if not is_undecided and not trial.suspects:
        return trial.found, trial.left_out
    plain = prove(question, ())
    if is_undecided or not plain:
        return (plain, frozenset(site.value for site in sites)) if is_undecided else (trial.found, trial.left_out)
    trial = _without_renamed(trial, without)
    left_out = sorted(trial.left_out)
    found = replace(trial.found, notes=(*trial.found.notes, _renamed_note(left_out))) if left_out else trial.found
    return found, trial.left_out


@dataclass(frozen=True)
class _Attempt:
    """A proof without the sites at some values, and which others are suspect then, each for what is fed with it."""

    found: Verification
    suspects: dict[str, set[str]]
    left_out: frozenset[str]


def _without_renamed(trial: _Attempt, without: Callable[[Iterable[str]], _Attempt]) -> _Attempt:
    """Return the trial without the sites whose names are proved to mean another value.

    First those that are fed with no other such, because what is fed with one may fail for that alone; and where that
    proves nothing, all of them together.
    """
    decided: set[str] = set()
    for _ in range(_ROUNDS):
        left = trial.suspects.keys() - decided
        suspects = left.difference(*(trial.suspects[value] for value in left))
        if not suspects:
            break
        decided |= suspects
        after = without(trial.left_out | suspects)
        proved = {value for value in suspects if _is_better(after.found, trial.found, trial.suspects[value])}
        if proved:
            trial = after if len(proved) == len(suspects) else without(trial.left_out | proved)
    if not trial.suspects:
        return trial
    after = without(trial.left_out.union(trial.suspects))
    failing = {c.value for c in trial.found.failures}
    return after if after.found and _is_better(after.found, trial.found, failing) else trial


def _suspects(question: Question, found: Verification) -> dict[str, set[str]]:
    """Return the sites that fail where a value that is fed with them fails too, and those values."""
    boundary = dict.fromkeys((c.value for c in (*found.sites, *found.outputs)), onnx.TypeProto())
    sites = {c.value for c in found.sites if not c.passed}
    suspects: dict[str, set[str]] = {}
    for value in {c.value for c in found.failures} if sites else ():
        for fed in sites.intersection(submodel(question.candidate, [value], boundary).injected):
            suspects.setdefault(fed, set()).add(value)
    return suspects


def _is_better(one: Verification, other: Verification, names: Collection[str]) -> bool:
    """Whether each value, as far as it is there, is far from as wrong in ``one`` as in ``other``."""
    errors, others = _errors(one), _errors(other)
    there = errors.keys() & names
    return bool(there) and all(_MUCH * errors[name] < others[name] for name in there)


def _errors(found: Verification) -> dict[str, float]:
    errors: dict[str, float] = {}
    for c in (*found.sites, *found.outputs):
        errors[c.value] = max(errors.get(c.value, 0.0), c.relative)
    return errors


def _renamed_note(names: Sequence[str]) -> str:
    return (
        f"not compared: {_some(names)}, because the name means another value in the second model, "
        "which was changed since"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
