"""Sites inside of bodies, by names of the main graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError
from normfold.runtime.submodel import submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
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
        feed, _ = next(accepted_feeds(question, lambda feed: run_part(runner, plain, feed, {})))
    original, copies = inline_bodies(question.original, paths)
    closed = tuple(copy.prefix for copy in copies if not _runs(question, original, copy.prefix, feed))
    original, copies = inline_bodies(question.original, paths, closed)
    candidate, _ = inline_bodies(question.candidate, paths, closed)
    prefixes: dict[str, list[str]] = {"": [""]}
    for copy in copies:
        prefixes.setdefault(copy.path, []).append(copy.prefix)
    named = [
        Site(prefix + site.value, site.fold) if site.graph in prefixes else site
        for site in sites
        for prefix in prefixes.get(site.graph, [""])
    ]
    return replace(question, original=original, candidate=candidate), named


def _runs(question: Question, model: LoadedModel, prefix: str, feed: Feed) -> bool:
    """Whether a copy of a body runs; in a branch that no feed takes the values may not fit."""
    small = submodel(model, [name for name in model.producers if name.startswith(prefix)], {})
    try:
        with question.open(small.model) as runner:
            run_part(runner, small, feed, {})
    except ModelRunError:
        return False
    return True
