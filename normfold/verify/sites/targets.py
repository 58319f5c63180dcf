"""Where two models are compared: the values that stand for the sites, and the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from normfold.runtime.loaded_model import Held
from normfold.runtime.random_operators import depending_on, drawn_values
from normfold.runtime.session import CannotRun
from normfold.runtime.submodel import first_behind, part
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.checks.at_sites import in_order
from normfold.verify.inputs.generate import Feed
from normfold.verify.result import Site
from normfold.verify.sites.subgraph_copies import lay_open
from normfold.verify.state import Case, run_part


def in_the_open(case: Case, sites: Sequence[Site]) -> list[Site]:
    """The sites by names of the main graph: those inside bodies by those of copies that run (see ``bodies``)."""
    paths = {site.graph for site in sites if site.graph}
    if not paths:
        return list(sites)
    plain = part(case.original, case.original.output_names, {})
    with case.open(plain.held) as runner:
        feed, _ = next(accepted_feeds(case, lambda _, feed: run_part(runner, plain, feed, {})))
    original, copies = lay_open(case.original, paths)
    closed = tuple(copy.prefix for copy in copies if not _runs(case, original, copy.prefix, feed))
    case.original, copies = lay_open(case.original, paths, closed)
    case.candidate, _ = lay_open(case.candidate, paths, closed)
    case.has_open_bodies = bool(copies)
    prefixes: dict[str, list[str]] = {"": [""]}
    for copy in copies:
        prefixes.setdefault(copy.path, []).append(copy.prefix)
    return [
        Site(prefix + site.value, site.owner)
        for site in sites
        for prefix in prefixes.get(site.graph, [f"{site.graph}/"])
    ]


def _runs(case: Case, held: Held, prefix: str, feed: Feed) -> bool:
    """Whether a copy of a body runs; in a branch that no feed takes the values may not fit."""
    small = part(held, [name for name in held.producers if name.startswith(prefix)], {})
    try:
        with case.open(small.held) as runner:
            run_part(runner, small, feed, {})
    except CannotRun:
        return False
    return True


def targets_of(case: Case, sites: Sequence[Site]) -> list[str]:
    """Values to compare, in the order of the original's graph: each site, or where it is gone the first values behind
    it that both models have, and the outputs."""
    both = case.original.values & case.candidate.values
    shown = {
        name: [name] if name in both else first_behind(case.original, name, both)
        for name in dict.fromkeys(site.value for site in sites)
    }
    owners: dict[str, list[str]] = {}
    for site in sites:
        for value in shown[site.value]:
            if value not in case.left_out:
                owners.setdefault(value, []).append(site.owner)
    lost = [name for name, values in shown.items() if not values]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        names = ", ".join(sorted(lost)[:5])
        case.note(f"no evidence of its own for {names}{more}: not among the values that both models make")
    case.owners = {value: tuple(dict.fromkeys(names)) for value, names in owners.items()}
    drawn = drawn_values(case.original)
    case.drawn = frozenset(drawn) & both
    case.random_outputs = frozenset(depending_on(case.original, drawn)) & set(case.original.output_names)
    return in_order(case.original, [*owners, *case.drawn, *case.original.output_names])
