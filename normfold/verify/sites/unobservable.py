"""Differences that no output reads, however large they are: other numbers under a mask, a shift that a norm takes out.

A fault may be hidden too, by what saturates or by noise. There an error of the same kind that is much larger shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from itertools import islice

import numpy as np

from normfold.runtime.session import ModelRunError, Value
from normfold.runtime.submodel import submodel, types_of
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.distance import is_floating
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.question import Conditions, Question
from normfold.verify.result import Stage
from normfold.verify.state import run_part

_LARGER = (0, 1, -1, 8, -8, 64, -64)
"""The error itself is tried, and ones so many times as large as the value, also the other way: what is scaled up alone
may leave the largest entry where it is."""

_MASKED = -9e3
"""What is below that in both models is a mask's way to say "never"."""

_FEEDS = 2


def unobservable_values(question: Question, names: Set[str]) -> set[str]:
    """Return those of ``names`` that differ in the candidate and that no output of the original reads there.

    The first feeds decide; the difference is the candidate's own, with what the original makes at the other ``names``.
    """
    nodes, made_by = question.original.graph.node, question.original.producers
    made = {name for name in names & made_by.keys() if nodes[made_by[name]].op_type != "Constant"}
    wanted = sorted(made.difference(question.original.output_names))
    if not wanted:
        return set()
    targets = [*wanted, *question.original.output_names]
    unobservable, shown = set(wanted), set[str]()
    try:
        small = submodel(question.original, targets, {})
        with question.open(small.model) as runner:
            for feed, values in islice(
                accepted_feeds(question, lambda feed: run_part(runner, small, feed, {})), _FEEDS
            ):
                reads = {name: _is_read(question, feed, values, name, wanted) for name in unobservable}
                unobservable -= {name for name, is_read in reads.items() if is_read}
                shown |= {name for name, is_read in reads.items() if is_read is not None}
    except ModelRunError:
        return set()
    return unobservable & shown


def _is_read(
    question: Question, feed: Feed, values: Mapping[str, Value], name: str, names: Collection[str]
) -> bool | None:
    """Return whether an output reads what differs; None where nothing differs on this feed."""
    boundary = types_of({each: values[each] for each in names})
    if name not in boundary:
        return True
    theirs = submodel(question.candidate, [name], boundary)
    with question.open(theirs.model) as runner:
        obtained = run_part(runner, theirs, feed, values)[name]
    if values[name].dtype == np.asarray(obtained).dtype and np.array_equal(values[name], obtained):
        return None
    outputs = [each for each in question.original.output_names if each not in question.original.initializer_names]
    behind = submodel(question.original, outputs, {name: boundary[name]})
    with question.open(behind.model) as runner:
        for factor in _LARGER:
            given = {name: _further(np.asarray(values[name]), np.asarray(obtained), factor)}
            found = run_part(runner, behind, feed, given)
            for each in outputs:
                how = Conditions(Stage.UNOPTIMIZED, feed.text, Tolerance.END_TO_END)
                if not question.judge(each, how, values[each], found[each]).passed:
                    return True
    return False


def _further(expected: np.ndarray, obtained: np.ndarray, factor: float) -> np.ndarray:
    """Return the obtained value, made worse until it is off by so many times the value's scale."""
    if not is_floating(expected) or expected.shape != obtained.shape or str(expected.dtype) == "bfloat16":
        return obtained
    a, b = expected.astype(np.float64), obtained.astype(np.float64)
    is_number = np.isfinite(a) & np.isfinite(b) & ~((a < _MASKED) & (b < _MASKED))
    gap = np.where(is_number, b - np.where(is_number, a, 0), 0)
    off, scale = np.max(np.abs(gap), initial=0.0), np.max(np.abs(a), initial=0.0, where=is_number)
    times = factor * max(1.0, scale / off) if factor and off else 1.0
    limit = float(np.finfo(expected.dtype).max)
    worse = np.where(is_number, np.clip(np.where(is_number, a, 0) + times * gap, -limit, limit), b)
    return worse.astype(expected.dtype)
