"""What comparisons and Where make of a region: guards of exporters that leave a norm as it is.

jax.numpy.var chooses NaN where it would divide by 0, jax2onnx zero where all data is equal, TensorFlow's
weighted_moments zero where the weights sum to 0.
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.fuse.recognize.polynomial import M, X
from normfold.fuse.recognize.reductions import reduced_axes
from normfold.fuse.recognize.region import NearMiss, Region, RuleResult, Said, Saying, Tracked

_COMPARES = {
    "Equal": lambda one, two: one == two,
    "Greater": lambda one, two: one > two,
    "GreaterOrEqual": lambda one, two: one >= two,
    "Less": lambda one, two: one < two,
    "LessOrEqual": lambda one, two: one <= two,
}


def extreme(region: Region, node: ir.Node) -> RuleResult:
    """Follow ReduceMin and ReduceMax of the data over the norm's own axes."""
    found = region.operand(node, 0)
    if not isinstance(found, Tracked) or not region.is_whole(found) or set(found.poly.terms) != {X}:
        return None
    own = tuple(1 if axis is None else region.size(found.view, axis) for axis in found.axes)
    axes = reduced_axes(region.reader, node, own)
    if axes is None or not region.takes_moments(found.view, axes) or (found.poly.terms[X] <= 0).any():
        return None
    return Said(Saying.LEAST if node.op_type == "ReduceMin" else Saying.LARGEST)


def comparison(region: Region, node: ir.Node) -> RuleResult:
    """Follow a comparison within the region: least and largest are equal where all data is."""
    says = [region.said(node, index) for index in (0, 1)]
    if node.op_type == "Equal" and {Saying.LEAST, Saying.LARGEST} == set(says):
        return Said(Saying.ALL_EQUAL)
    operands = [region.operand(node, index) for index in (0, 1)]
    of_data = [each for each in operands if isinstance(each, Tracked)]
    number = region.number(node, 0 if operands[1] in of_data else 1)
    if node.op_type == "Equal" and number == 0 and any(each.poly.is_positive() for each in of_data):
        return Said(Saying.NEVER)
    return Said(Saying.SOMETHING) if len(of_data) == 2 or (of_data and number is not None) else None


def both(region: Region, node: ir.Node) -> RuleResult:
    """Follow And: where it holds, each of its conditions does."""
    says = [region.said(node, index) for index in (0, 1)]
    return Said(Saying.ALL_EQUAL if Saying.ALL_EQUAL in says else Saying.SOMETHING)


def where(region: Region, node: ir.Node) -> RuleResult:
    """Follow Where of a condition that never changes, or that gives 0 where the deviation from the mean is 0 anyway."""
    condition = node.inputs[0]
    is_never = region.said(node, 0) is Saying.NEVER
    truth = False if is_never else None if condition is None else holds(region, condition)
    if truth is not None:
        found, other = region.operand(node, 1 if truth else 2), node.inputs[2 if truth else 1]
        if not isinstance(found, Tracked) or condition is None or other is None:
            return found if isinstance(found, NearMiss) else None
        return found if region.keeps_size(node, found, other, *(() if is_never else (condition,))) else None
    deviation = region.operand(node, 2)
    is_guard = region.said(node, 0) is Saying.ALL_EQUAL and region.number(node, 1) == 0
    return deviation if is_guard and isinstance(deviation, Tracked) and _is_deviation(deviation) else None


def _is_deviation(tracked: Tracked) -> bool:
    """Say whether a value is a multiple of ``x - E[x]``."""
    terms = tracked.poly.terms
    return set(terms) == {X, M} and terms[X].shape == terms[M].shape and bool((terms[X] == -terms[M]).all())


def holds(region: Region, value: ir.Value) -> bool | None:
    """Say whether a condition holds, where it is the same in every run, however large; None where it is not known."""
    array = region.reader.constant(value)
    if array is not None:
        return bool(array.reshape(-1)[0]) if array.size and (array == array.reshape(-1)[0]).all() else None
    node = value.producer()
    compare = None if node is None else _COMPARES.get(node.op_type)
    if node is None or compare is None or node.domain not in ("", "ai.onnx"):
        return None
    numbers = [region.number(node, index) for index in (0, 1)]
    return None if numbers[0] is None or numbers[1] is None else bool(compare(numbers[0], numbers[1]))
