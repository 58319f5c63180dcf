"""Where two models are compared: the values that stand for the sites, and the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.random_operators import depending_on, unseeded_values
from normfold.runtime.session import ModelRunError
from normfold.runtime.submodel import first_downstream, submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.checks.at_sites import in_order
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question
from normfold.verify.result import Site
from normfold.verify.sites.subgraph_copies import inline_bodies
from normfold.verify.state import run_part


def inlined_sites(question: Question, sites: Sequence[Site]) -> tuple[Question, list[Site]]:
    """Return the question with copies of the bodies that have sites, and all sites by names of the main graph.

    Those inside bodies are named by the copies that run (see ``subgraph_copies``).
    """
    paths = {site.graph for site in sites if site.graph}
    if not paths:
        return question, list(sites)
    plain = submodel(question.original, question.original.output_names, {})
    with question.open(plain.model) as runner:
        feed, _ = next(accepted_feeds(question, lambda _, feed: run_part(runner, plain, feed, {})))
    original, copies = inline_bodies(question.original, paths)
    closed = tuple(copy.prefix for copy in copies if not _runs(question, original, copy.prefix, feed))
    original, copies = inline_bodies(question.original, paths, closed)
    candidate, _ = inline_bodies(question.candidate, paths, closed)
    prefixes: dict[str, list[str]] = {"": [""]}
    for copy in copies:
        prefixes.setdefault(copy.path, []).append(copy.prefix)
    named = [
        Site(prefix + site.value, site.fold)
        for site in sites
        for prefix in prefixes.get(site.graph, [f"{site.graph}/"])
    ]
    return replace(question, original=original, candidate=candidate, has_inlined_bodies=bool(copies)), named


def _runs(question: Question, model: LoadedModel, prefix: str, feed: Feed) -> bool:
    """Whether a copy of a body runs; in a branch that no feed takes the values may not fit."""
    small = submodel(model, [name for name in model.producers if name.startswith(prefix)], {})
    try:
        with question.open(small.model) as runner:
            run_part(runner, small, feed, {})
    except ModelRunError:
        return False
    return True


def with_targets(question: Question, sites: Sequence[Site]) -> tuple[Question, list[str]]:
    """Return the question with the folds of each site, and the values to compare in the order of the original's graph.

    These are each site, or where it is gone the first values behind it that both models have, and the outputs.
    """
    original = question.original
    both = original.values & question.candidate.values
    shown = {
        name: [name] if name in both else first_downstream(original, name, both)
        for name in dict.fromkeys(site.value for site in sites)
    }
    folds: dict[str, list[str]] = {}
    for site in sites:
        for value in shown[site.value]:
            if value not in question.left_out:
                folds.setdefault(value, []).append(site.fold)
    lost = [name for name, values in shown.items() if not values]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        names = ", ".join(sorted(lost)[:5])
        question = question.noting(
            f"no evidence of its own for {names}{more}: not among the values that both models make"
        )
    unseeded = unseeded_values(original)
    targeted = replace(
        question,
        folds={value: tuple(dict.fromkeys(names)) for value, names in folds.items()},
        random_values=frozenset(unseeded) & both,
        random_outputs=frozenset(depending_on(original, unseeded)) & set(original.output_names),
    )
    return targeted, in_order(original, [*folds, *targeted.random_values, *original.output_names])
