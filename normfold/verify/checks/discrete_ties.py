"""Decisions that may fall either way: argmax of equal scores, a comparison of equal numbers, a number half way.

Nothing else shows that a fold is right where an output is a class, a count or a choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from normfold.operators.table import COMPARISONS, RESHAPES, ROUNDINGS
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError, Value
from normfold.runtime.submodel import submodel
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.distance import is_floating, pooled
from normfold.verify.numeric.rounding_noise import FACTOR, Tolerance
from normfold.verify.question import Question
from normfold.verify.result import Comparison
from normfold.verify.state import ProofState, part_feed, run_part

# Operators that keep the places of a decision, up to shape.
_KEEP_PLACES = RESHAPES | {"Identity", "Cast", "Not"}
_LOOK_UP = {"Gather": 1, "ArrayFeatureExtractor": 1}
_ROUND = ROUNDINGS | {"Cast", "QuantizeLinear"}


def is_a_tie(
    proof: ProofState, comparison: Comparison, expected: Value, obtained: Value, feed: Feed
) -> Comparison | None:
    """Return the comparison as passed, where the decision is a tie.

    That is when an integer, boolean or string value differs only where the numbers behind it tie within rounding noise;
    None otherwise.
    """
    if comparison.passed or not isinstance(expected, np.ndarray) or not isinstance(obtained, np.ndarray):
        return None
    if is_floating(expected) or expected.shape != obtained.shape or expected.dtype != obtained.dtype:
        return None
    question = proof.question
    node = _decision(question.original, comparison.value)
    if node is None:
        return None
    inputs = [name for name in node.input[:2] if name]
    small = submodel(question.original, inputs, {})
    try:
        with question.open(small.model) as runner:
            behind = run_part(runner, small, feed, {})
    except (ModelRunError, KeyError):
        return None
    if any(np.asarray(behind[name]).dtype == object for name in inputs):  # strings do not tie
        return None
    if _has_the_same_numbers(question, comparison.value, behind[inputs[0]], feed):
        return None
    samples = list(question.noise_of(small, part_feed(small, feed, {}), behind))
    noise = samples[-1] if samples else {}
    unsure = _unsure(
        node, [behind[name] for name in inputs], [_width(question, name, behind, noise) for name in inputs]
    )
    if unsure is None or unsure.size != expected.size:
        return None
    if np.any((expected != obtained).ravel() & ~unsure.ravel()):
        return None
    text = f"differs only where {node.op_type} {node.name or node.output[0]} decides between values that tie"
    proof.record.note(f"{comparison.value} {text}")
    return replace(comparison, passed=True, margin=1.0, note=text)


def _has_the_same_numbers(question: Question, value: str, expected: Value, feed: Feed) -> bool:
    """Return whether the candidate decides between the very numbers of the original: no rounding explains that."""
    node = _decision(question.candidate, value)
    if node is None:
        return False
    small = submodel(question.candidate, [node.input[0]], {})
    try:
        with question.open(small.model) as runner:
            return np.array_equal(run_part(runner, small, feed, {})[node.input[0]], expected)
    except (ModelRunError, KeyError):
        return False


def _decision(model: LoadedModel, value: str) -> onnx.NodeProto | None:
    """Return the operator that decides the value, found backward through operators that keep its places."""
    made_by = model.producers
    while value in made_by:
        node: onnx.NodeProto = model.graph.node[made_by[value]]
        if node.op_type in ("ArgMax", "ArgMin", "TopK") or node.op_type in COMPARISONS:
            return node
        if node.op_type in _ROUND and not _is_discrete(model, node):
            return node
        if node.op_type in _KEEP_PLACES:
            value = node.input[0]
        elif node.op_type in _LOOK_UP:
            value = node.input[_LOOK_UP[node.op_type]]
        else:
            return None
    return None


def _is_discrete(model: LoadedModel, node: onnx.NodeProto) -> bool:
    """Whether a Cast only turns one kind of integer into another: its input was decided before."""
    if node.op_type != "Cast":
        return False
    made_by = model.producers
    before = model.graph.node[made_by[node.input[0]]].op_type if node.input[0] in made_by else ""
    return before in ("ArgMax", "ArgMin", "TopK", "Not", "Gather") or before in COMPARISONS


def _width(question: Question, name: str, behind: Mapping[str, Value], noise: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far a number behind the decision may be off: the whole model's noise there, or the floor of its type."""
    value = np.asarray(behind[name])
    if not is_floating(value):
        return np.zeros((1,) * value.ndim)
    floor = max(Tolerance.END_TO_END.of(each) for each in (str(value.dtype), question.precision) if each)
    size = np.where(np.isfinite(value), np.abs(value.astype(np.float64)), 0)
    return np.maximum(floor * pooled(size) / FACTOR, noise.get(name, 0.0))


def _unsure(node: onnx.NodeProto, values: list[Any], widths: list[np.ndarray]) -> np.ndarray | None:
    """Where the decision could fall either way, one flag for each place of its result."""
    attributes = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
    x, width = np.asarray(values[0], dtype=np.float64), widths[0]
    if node.op_type in ("ArgMax", "ArgMin"):
        axis = attributes.get("axis", 0)
        ordered = np.sort(x if node.op_type == "ArgMin" else -x, axis=axis)
        gap = np.diff(ordered.take([0, 1], axis=axis), axis=axis) if x.shape[axis] > 1 else None
        return (
            None if gap is None else np.asarray(gap <= 2 * np.max(np.broadcast_to(width, x.shape), axis, keepdims=True))
        )
    if node.op_type == "TopK":
        return _unsure_top(x, width, attributes.get("axis", -1), int(np.asarray(values[1]).ravel()[0]), attributes)
    if node.op_type in COMPARISONS and len(values) == 2:
        y = np.asarray(values[1], dtype=np.float64)
        return np.asarray(np.abs(x - y) <= width + widths[1])
    if node.op_type == "Floor" or node.op_type == "Ceil" or node.op_type == "Cast":
        return np.asarray(np.abs(x - np.round(x)) <= width)
    if node.op_type == "Round":
        return np.asarray(np.abs(x - np.floor(x) - 0.5) <= width)
    return None


def _unsure_top(x: np.ndarray, width: np.ndarray, axis: int, k: int, attributes: Mapping[str, int]) -> np.ndarray:
    """Of the k first in order, those that tie with a neighbour in order (the first one left out included)."""
    ordered = np.sort(-x if attributes.get("largest", 1) else x, axis=axis)
    limit = 2 * np.max(np.broadcast_to(width, x.shape), axis, keepdims=True)
    gaps = np.diff(ordered, axis=axis) <= limit
    none = np.zeros_like(limit, dtype=bool)
    ties = np.concatenate([none, gaps], axis) | np.concatenate([gaps, none], axis)
    return np.asarray(ties.take(range(k), axis=axis))
