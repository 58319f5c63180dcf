"""Where two models are compared: the values that stand for the sites, and the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.random_operators import depending_on, unseeded_values
from normfold.runtime.session import ModelRunError
from normfold.runtime.submodel import first_downstream, submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.checks.at_sites import in_order
from normfold.verify.inputs.generate import Feed
from normfold.verify.result import Site
from normfold.verify.sites.subgraph_copies import inline_bodies
from normfold.verify.state import ProofState, run_part


def inlined_sites(proof: ProofState, sites: Sequence[Site]) -> list[Site]:
    """Return the sites by names of the main graph: those inside bodies by those of copies that run (see ``bodies``)."""
    paths = {site.graph for site in sites if site.graph}
    if not paths:
        return list(sites)
    plain = submodel(proof.original, proof.original.output_names, {})
    with proof.open(plain.model) as runner:
        feed, _ = next(accepted_feeds(proof, lambda _, feed: run_part(runner, plain, feed, {})))
    original, copies = inline_bodies(proof.original, paths)
    closed = tuple(copy.prefix for copy in copies if not _runs(proof, original, copy.prefix, feed))
    proof.original, copies = inline_bodies(proof.original, paths, closed)
    proof.candidate, _ = inline_bodies(proof.candidate, paths, closed)
    proof.has_inlined_bodies = bool(copies)
    prefixes: dict[str, list[str]] = {"": [""]}
    for copy in copies:
        prefixes.setdefault(copy.path, []).append(copy.prefix)
    return [
        Site(prefix + site.value, site.fold)
        for site in sites
        for prefix in prefixes.get(site.graph, [f"{site.graph}/"])
    ]


def _runs(proof: ProofState, model: LoadedModel, prefix: str, feed: Feed) -> bool:
    """Whether a copy of a body runs; in a branch that no feed takes the values may not fit."""
    small = submodel(model, [name for name in model.producers if name.startswith(prefix)], {})
    try:
        with proof.open(small.model) as runner:
            run_part(runner, small, feed, {})
    except ModelRunError:
        return False
    return True


def targets_of(proof: ProofState, sites: Sequence[Site]) -> list[str]:
    """Return values to compare, in the order of the original's graph.

    Each site, or where it is gone the first values behind it that both models have, and the outputs.
    """
    both = proof.original.values & proof.candidate.values
    shown = {
        name: [name] if name in both else first_downstream(proof.original, name, both)
        for name in dict.fromkeys(site.value for site in sites)
    }
    folds: dict[str, list[str]] = {}
    for site in sites:
        for value in shown[site.value]:
            if value not in proof.left_out:
                folds.setdefault(value, []).append(site.fold)
    lost = [name for name, values in shown.items() if not values]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        names = ", ".join(sorted(lost)[:5])
        proof.note(f"no evidence of its own for {names}{more}: not among the values that both models make")
    proof.folds = {value: tuple(dict.fromkeys(names)) for value, names in folds.items()}
    random_values = unseeded_values(proof.original)
    proof.random_values = frozenset(random_values) & both
    proof.random_outputs = frozenset(depending_on(proof.original, random_values)) & set(proof.original.output_names)
    return in_order(proof.original, [*folds, *proof.random_values, *proof.original.output_names])
