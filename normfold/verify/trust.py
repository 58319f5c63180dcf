"""Sites that the models tell of themselves (see ``told``): which are compared, and what a failing one means.

A fold never leaves a name on a value that it changed, so names of what normfold wrote mean what they mean in the
original. Another tool may have changed the file since, and one that merges two operators may give the result the name
of what was between them. Then that value differs, and so does whatever is fed with the original's in its place, but
not what is computed from its own. After a fault what is fed with the original's value is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import onnx

from normfold.verify.bodies import body_paths
from normfold.verify.case import Case
from normfold.verify.held import Held, part
from normfold.verify.result import Comparison, Site, Verdict, Verification
from normfold.verify.retype import coarsest
from normfold.verify.told import SITES, from_text

_ROUNDS = 3
"""So often more names are doubted."""

_MUCH = 2
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


def by_told_sites(
    case: Case, sites: Sequence[Site], prove: Callable[[Case, Sequence[Site]], Verification]
) -> Verification:
    """What ``prove`` says with ``sites``, as far as their names can be trusted. ``case`` itself stays untouched."""

    def without(values: Mapping[str, Comparison]) -> tuple[Verification, dict[Comparison, set[str]]]:
        tried = case.afresh()
        found = prove(tried, _but_for(sites, values))
        return found, _doubted(tried, found)

    renamed: dict[str, Comparison] = {}
    found, doubted = without(renamed)
    for _ in range(_ROUNDS):
        if not doubted:
            break
        fed, suspects = found, doubted
        found, doubted = without(renamed | {c.value: c for c in suspects})
        proved = {c.value: c for c, behind in suspects.items() if _is_better(found, fed, behind)}
        renamed |= proved
        if not proved:
            found = fed
            break
        if len(proved) < len(suspects):
            found, doubted = without(renamed)
    if sites and found.verdict is Verdict.INCONCLUSIVE:
        return prove(case.afresh(), ())
    return replace(found, notes=(*found.notes, _passed_over(sorted(renamed)))) if renamed else found


def _but_for(sites: Sequence[Site], values: Mapping[str, Comparison]) -> list[Site]:
    """The sites without those of the folds whose evidence ``values`` are."""
    owners = {owner for comparison in values.values() for owner in comparison.owners}
    return [site for site in sites if site.owner not in owners]


def _doubted(case: Case, found: Verification) -> dict[Comparison, set[str]]:
    """The sites that fail where a value that is fed with them fails too, and those values."""
    cut = dict.fromkeys((c.value for c in (*found.sites, *found.outputs)), onnx.TypeProto())
    failing = {c.value: c for c in found.sites if not c.passed}
    doubted: dict[Comparison, set[str]] = {}
    for value in {c.value for c in found.failures} if failing else ():
        for fed in failing.keys() & set(part(case.candidate, [value], cut).forced):
            doubted.setdefault(failing[fed], set()).add(value)
    return doubted


def _is_better(one: Verification, other: Verification, names: Collection[str]) -> bool:
    """Whether each value is right in ``one``, or at least far from as wrong as in ``other``; as far as it is there."""
    passing = {c.value for c in (*one.sites, *one.outputs)} - {c.value for c in one.failures}
    errors, others = _errors(one), _errors(other)
    return all(name in passing or _MUCH * errors.get(name, 0.0) < others[name] for name in names)


def _errors(found: Verification) -> dict[str, float]:
    errors: dict[str, float] = {}
    for c in found.failures:
        errors[c.value] = max(errors.get(c.value, 0.0), c.relative)
    return errors


def _passed_over(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"not compared: {', '.join(names[:3])}{more}, because the name means another value in the second model; "
        "another tool has changed it since normfold wrote it"
    )
