"""Sites inside of bodies, by names of the main graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError
from normfold.runtime.submodel import submodel
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question
from normfold.verify.result import Site
from normfold.verify.sites.subgraph_copies import differing_branches, inline_bodies
from normfold.verify.state import run_part


def inlined_sites(question: Question, sites: Sequence[Site], feed: Feed) -> tuple[Question, list[Site]]:
    """Return the question with copies of bodies, and all sites by names of the main graph.

    Copied are the bodies with sites and the branches in which the models differ. Sites inside are named by the copies
    that run (see ``subgraph_copies``).
    """
    paths = {site.graph for site in sites if site.graph}
    paths |= differing_branches(question.original, question.candidate)
    if not paths:
        return question, list(sites)
    original, copies = inline_bodies(question.original, paths)
    prefixes_of_all = tuple(copy.prefix for copy in copies)
    closed = () if _run(question, original, prefixes_of_all, feed) else prefixes_of_all
    closed = tuple(prefix for prefix in closed if not _run(question, original, (prefix,), feed))
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


def _run(question: Question, model: LoadedModel, prefixes: tuple[str, ...], feed: Feed) -> bool:
    """Return whether copies of bodies run; in a branch that no feed takes the values may not fit."""
    small = submodel(model, [name for name in model.producers if name.startswith(prefixes)], {})
    try:
        with question.open(small.model) as runner:
            run_part(runner, small, feed, {})
    except ModelRunError:
        return False
    return True
