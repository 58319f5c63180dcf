"""Where a difference begins: values of one name in both models, in the order of the graph. Help, not evidence.

Another model may use a name for another value (the sum before a norm that was folded, say). Such a value differs, but
nothing behind it does, so it is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError, Value
from normfold.runtime.submodel import first_downstream, submodel
from normfold.verify.checks.at_sites import expected_bytes, in_order
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.distance import is_floating
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.question import Question
from normfold.verify.result import Comparison, Stage
from normfold.verify.state import run_part

_NO_EVIDENCE = {"Constant", "ConstantOfShape", "Shape", "Size", "Identity"}


def first_differences(question: Question, feed: Feed, failing: Sequence[str]) -> list[Comparison]:
    """Return the last value that agrees before the first that does not, and that one.

    The next ones follow up to the ``failing`` outputs; nothing when no value but the outputs has one name in both
    models.
    """
    made, theirs = question.original.producers, question.candidate.producers
    kinds = {name: question.original.graph.node[index].op_type for name, index in made.items()}
    both = [name for name in made if name in theirs and kinds[name] not in _NO_EVIDENCE]
    names = [name for name in in_order(question.original, both) if name not in question.random_values]
    found: dict[str, Comparison] = {}
    try:
        for group in _groups(question, names):
            ours, theirs = (_values(question, model, feed, group) for model in (question.original, question.candidate))
            found |= {name: c for name in group if (c := _compared(question, name, ours[name], theirs[name], feed))}
    except ModelRunError:  # the outputs alone have to tell then
        return []
    wrong = [name for name in found if not found[name].passed]
    spreading = _spreading(question.original, wrong, set(found), set(failing))
    if not spreading - set(failing):
        return []
    order = list(found)
    start = next(i for i, name in enumerate(order) if name in spreading)
    before = [name for name in order[:start] if found[name].passed][-1:]
    return [found[name] for name in (*before, *[n for n in order[start:] if n in spreading][:5])]


def _groups(question: Question, names: Sequence[str]) -> Iterator[list[str]]:
    """Names whose values may be kept at once."""
    whole = submodel(question.original, names, {})
    with question.open(whole.model) as runner:
        sizes = expected_bytes(runner, whole, {})
    group: list[str] = []
    for name in names:
        if group and sum(sizes[n] for n in group) + sizes[name] > question.options.piece_bytes:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _values(question: Question, model: LoadedModel, feed: Feed, names: Sequence[str]) -> dict[str, Value]:
    small = submodel(model, names, {})
    with question.open(small.model) as runner:
        return run_part(runner, small, feed, {})


def _compared(question: Question, name: str, expected: Value, obtained: Value, feed: Feed) -> Comparison | None:
    """None where the two are not the same kind of value: then the name means nothing."""
    if not isinstance(expected, np.ndarray) or not isinstance(obtained, np.ndarray) or not is_floating(expected):
        return None
    if expected.shape != obtained.shape or expected.dtype != obtained.dtype:
        return None
    return question.judge(name, Stage.SAME_NAME, expected, obtained, feed, Tolerance.END_TO_END)


def _spreading(model: LoadedModel, wrong: Sequence[str], compared: set[str], failing: set[str]) -> set[str]:
    """Those of the ``wrong`` values whose error reaches the next compared values, and so on to a failing output."""
    found: set[str] = set()
    for name in reversed(wrong):
        if name in failing or not found.isdisjoint(first_downstream(model, name, compared)):
            found.add(name)
    return found
