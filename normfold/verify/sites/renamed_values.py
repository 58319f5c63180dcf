"""Sites that the models tell of themselves (see ``told``): which are compared, and what a failing one means.

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
from normfold.runtime.loaded_model import Held
from normfold.runtime.metadata_keys import SITES
from normfold.runtime.submodel import part
from normfold.verify.result import Site, Verdict, Verification
from normfold.verify.sites.changed_weights import twin_sites
from normfold.verify.sites.metadata import from_text
from normfold.verify.sites.subgraph_copies import body_paths
from normfold.verify.sites.unobservable import unread_values
from normfold.verify.state import Case

_ROUNDS = 6
"""So often names are judged by what is behind them."""

_MUCH = 8
"""An error that is so many times smaller is another one."""


def told_sites(case: Case) -> list[Site]:
    """What either model tells of its sites, as far as it is of use here. A tolerance of the user is one for outputs,
    and a model in another precision differs at every value."""
    found: dict[Site, None] = {}
    for which, held in (("second", case.candidate), ("first", case.original)):
        sites, fault = from_text(held.told)
        found |= dict.fromkeys(sites)
        if fault:
            case.note(f"{SITES} in the metadata of the {which} model is not as normfold writes it: {fault}; ignored")
    if not found or case.options.is_explicit or coarsest(case.original) != coarsest(case.candidate):
        return []
    if _is_quantized(case.original) != _is_quantized(case.candidate):
        case.note("one of the models is quantized, so they were not compared fold by fold")
        return []
    made = case.original.producers
    paths = body_paths(case.original) & body_paths(case.candidate) if any(site.graph for site in found) else set()
    return [site for site in found if (site.graph in paths if site.graph else site.value in made)]


def _is_quantized(held: Held) -> bool:
    return any(re.search("[Qq]uant|^QLinear|Integer$|NBits$", operator) for operator in held.operators)


def by_names(case: Case, prove: Callable[[Case, Sequence[Site]], Verification]) -> Verification:
    """What ``prove`` says of two models of which nobody tells the sites, but perhaps they do. ``case`` itself stays
    untouched."""
    told = told_sites(case)
    twins = [] if case.options.is_explicit else twin_sites(case.original, case.candidate, bool(told))
    known = {site.value for site in told}
    twins = [site for site in twins if site.value not in known]
    found = by_told_sites(case, [*told, *twins], prove)
    hidden = {c.value for c in found.sites if not c.passed}.intersection(site.value for site in twins)
    unread = unread_values(case.afresh(), hidden) if hidden and prove(case.afresh(), ()) else set()
    if not unread:
        return found
    found = by_told_sites(case, [*told, *(site for site in twins if site.value not in unread)], prove)
    return replace(
        found, notes=(*found.notes, f"{_some(sorted(unread))}: another value, but no output reads what differs")
    )


def by_told_sites(
    case: Case, sites: Sequence[Site], prove: Callable[[Case, Sequence[Site]], Verification]
) -> Verification:
    """What ``prove`` says with ``sites``, as far as their names can be trusted. ``case`` itself stays untouched."""

    def without(values: Iterable[str]) -> _Trial:
        tried = case.afresh(frozenset(values))
        found = prove(tried, sites)
        return _Trial(found, _doubted(tried, found), tried.left_out)

    trial = without(())
    is_undecided = bool(sites) and trial.found.verdict is Verdict.INCONCLUSIVE
    if not is_undecided and not trial.doubted:
        return trial.found
    plain = prove(case.afresh(), ())
    if is_undecided or not plain:
        return plain if is_undecided else trial.found
    trial = _without_renamed(trial, without)
    left_out = sorted(trial.left_out)
    return replace(trial.found, notes=(*trial.found.notes, _passed_over(left_out))) if left_out else trial.found


@dataclass(frozen=True)
class _Trial:
    """A proof without the sites at some values, and which others are doubted then, each for what is fed with it."""

    found: Verification
    doubted: dict[str, set[str]]
    left_out: frozenset[str]


def _without_renamed(trial: _Trial, without: Callable[[Iterable[str]], _Trial]) -> _Trial:
    """The trial without the sites whose names are proved to mean another value: first those that are fed with no other
    such, because what is fed with one may fail for that alone; and where that proves nothing, all of them together."""
    judged: set[str] = set()
    for _ in range(_ROUNDS):
        left = trial.doubted.keys() - judged
        suspects = left.difference(*(trial.doubted[value] for value in left))
        if not suspects:
            break
        judged |= suspects
        after = without(trial.left_out | suspects)
        proved = {value for value in suspects if _is_better(after.found, trial.found, trial.doubted[value])}
        if proved:
            trial = after if len(proved) == len(suspects) else without(trial.left_out | proved)
    if not trial.doubted:
        return trial
    after = without(trial.left_out.union(trial.doubted))
    failing = {c.value for c in trial.found.failures}
    return after if after.found and _is_better(after.found, trial.found, failing) else trial


def _doubted(case: Case, found: Verification) -> dict[str, set[str]]:
    """The sites that fail where a value that is fed with them fails too, and those values."""
    cut = dict.fromkeys((c.value for c in (*found.sites, *found.outputs)), onnx.TypeProto())
    sites = {c.value for c in found.sites if not c.passed}
    doubted: dict[str, set[str]] = {}
    for value in {c.value for c in found.failures} if sites else ():
        for fed in sites.intersection(part(case.candidate, [value], cut).forced):
            doubted.setdefault(fed, set()).add(value)
    return doubted


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


def _passed_over(names: Sequence[str]) -> str:
    return (
        f"not compared: {_some(names)}, because the name means another value in the second model, "
        "which somebody has changed since"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
