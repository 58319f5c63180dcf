"""What element-wise operators make of polynomials. Operators as in https://onnx.ai/onnx/operators/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.fuse.recognize.polynomial import ONE, Monomial, Poly
from normfold.fuse.recognize.region import (
    Constant,
    External,
    Logarithm,
    NearMiss,
    NormRule,
    Operand,
    Partial,
    Region,
    RuleResult,
    Tracked,
    of_data,
)
from normfold.graph.reader import FLOATS, attribute
from normfold.graph.training import drops_nothing, is_float_cast

_NO_BOUND = 3.4e38  # what Clip says where it has no upper bound


# -- one operand ------------------------------------------------------------------------------------------------
def same(region: Region, node: ir.Node) -> RuleResult:
    """Follow Identity, and Dropout at inference."""
    partial = region.partial(node, 0)
    if partial is not None:
        return partial
    found = region.operand(node, 0)
    return found if isinstance(found, (Tracked, NearMiss)) else None


def dropout(region: Region, node: ir.Node) -> RuleResult:
    """Follow a Dropout that is not training and whose mask is not read."""
    mask_is_read = any(output.name and output.uses() for output in node.outputs[1:])
    return same(region, node) if drops_nothing(region.reader, node) and not mask_is_read else None


def cast(region: Region, node: ir.Node) -> RuleResult:
    """Follow a Cast or CastLike to a floating type, and of a number of elements to whatever type."""
    found = region.operand(node, 0)
    is_count = isinstance(found, Tracked) and found.poly.is_count()
    return same(region, node) if is_count or is_float_cast(region.reader, node) else None


def unary(change: Callable[[Poly], Poly | None]) -> NormRule:
    """Return the rule for a function of one value, element by element."""
    return of_data(lambda region, node, found: changed(found, change(found.poly)))


def changed(tracked: Tracked, poly: Poly | None) -> Tracked | None:
    """Return ``tracked`` with another polynomial; None for None."""
    return None if poly is None else Tracked(poly, tracked.view, tracked.axes)


def rooted(change: Callable[[Poly], Poly | None]) -> NormRule:
    """Return the rule for Sqrt or Reciprocal: of a value that is no moment, they make what a norm divides by."""

    def rule(region: Region, node: ir.Node) -> RuleResult:
        """Interpret one node."""
        found = region.operand(node, 0)
        if isinstance(found, NearMiss):
            return NearMiss(found.obstacle, has_root=True)
        return root(region, node)

    @of_data
    def root(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
        return changed(found, change(found.poly)) or no_root(region, node, found)

    return rule


def no_root(region: Region, node: ir.Node, tracked: Tracked) -> RuleResult:
    """Return why no root can be taken of what should be variance + epsilon."""
    is_bounded = any(denominator.lower_bound for term in tracked.poly.terms for denominator, _ in term.denominators)
    if tracked.poly.has_x or (tracked.poly.degree != 2 and not tracked.poly.has_denominator):
        return None
    if tracked.poly.has_denominator and not is_bounded:
        return region.near_miss(Reason.EXPONENT, node, "it is a root of a root", has_root=True)
    epsilon = next((array for term, array in tracked.poly.terms.items() if term == ONE), np.zeros(1))
    if epsilon.size > 1:
        return region.near_miss(
            Reason.EPSILON_VARIES, node, f"from {epsilon.min():.3g} to {epsilon.max():.3g}", has_root=True
        )
    return region.near_miss(Reason.CLIPPED if is_bounded else Reason.NOT_A_VARIANCE, node, has_root=True)


def power(region: Region, node: ir.Node) -> RuleResult:
    """Follow Pow by a constant: square, root, inverse, inverse root."""
    found, exponent = region.operand(node, 0), region.number(node, 1)
    if exponent is None:
        return None
    if isinstance(found, NearMiss):
        is_inverse = exponent == -1.0 or not float(exponent).is_integer()
        return NearMiss(found.obstacle, has_root=found.has_root or is_inverse)
    return _powered(region, node, found, exponent) if isinstance(found, Tracked) else None


@of_data
def logarithm(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    """Follow Log of a variance or mean square: ``exp(-0.5 * log v)`` is ``v^(-1/2)``."""
    return Logarithm(found) if found.poly.is_never_negative() else None


def exponential(region: Region, node: ir.Node) -> RuleResult:
    """Follow Exp of a multiple of a logarithm."""
    found = region.unfinished(node, 0)
    return _powered(region, node, found.tracked, found.factor) if isinstance(found, Logarithm) else None


def _powered(region: Region, node: ir.Node, found: Tracked, exponent: float) -> RuleResult:
    poly = _raised(found.poly, exponent)
    if poly is not None:
        return Tracked(poly, found.view, found.axes)
    if exponent in (0.5, -0.5):
        return no_root(region, node, found)
    has_root = not found.poly.has_x and not float(exponent).is_integer()
    return region.near_miss(Reason.EXPONENT, node, f"the exponent is {exponent:g}", has_root=has_root)


def _raised(poly: Poly, exponent: float) -> Poly | None:
    if exponent == 2:
        return poly.times(poly)
    if exponent in (0.5, -0.5):
        root = poly.square_root()
        return root if exponent > 0 or root is None else root.inverse()
    if exponent == 1:
        return poly
    return poly.inverse() if exponent == -1 else None


def clip(region: Region, node: ir.Node) -> RuleResult:
    """Follow Clip and Max, a bound from below: x / max(|x|, 1e-12), or max(variance, 0), which changes nothing."""
    operands = [region.operand(node, index) for index in range(len(node.inputs))]
    found = _bounded_operand(operands)
    if not isinstance(found, Tracked):
        return found
    low = _lower_bound(region, node, operands)
    bounded = None if low is None else found.poly.at_least(low)
    if bounded is not None:
        return changed(found, bounded)
    is_moment = not found.poly.has_x and found.poly.degree + found.poly.has_denominator > 0
    rooted = found.poly.has_denominator
    return region.near_miss(Reason.CLIPPED, node, has_root=rooted) if is_moment else None


def _bounded_operand(operands: list[Operand]) -> Tracked | NearMiss | None:
    """Return the operand of the region, whichever place it has."""
    return next((operand for operand in operands if isinstance(operand, (Tracked, NearMiss))), None)


def _lower_bound(region: Region, node: ir.Node, operands: list[Operand]) -> float | None:
    """Return the only bound of a Clip or Max, one number from below; None where there is another."""
    if node.op_type == "Clip":
        has_high = len(operands) > 2 and node.inputs[2] is not None
        high = region.number(node, 2) if has_high else attribute(node, "max", _NO_BOUND)
        low = attribute(node, "min", None)
        low = region.number(node, 1) if low is None and len(operands) > 1 else low
        return low if high is not None and high >= _NO_BOUND else None
    found = [(index, each.array.size) for index, each in enumerate(operands) if isinstance(each, Constant)]
    return region.number(node, found[0][0]) if len(operands) == 2 and found and found[0][1] == 1 else None


def capped(region: Region, node: ir.Node) -> RuleResult:
    """Follow Min, a bound from above: ``min(1/W, 1/c)`` is ``1/max(W, c)``, as Keras writes it."""
    operands = [region.operand(node, index) for index in range(len(node.inputs))]
    found = _bounded_operand(operands)
    if not isinstance(found, Tracked):
        return found
    high = region.number(node, 1 if operands[0] is found else 0) if len(operands) == 2 else None
    whole = found.poly.inverse() if high is not None and high > 0 else None
    bounded = None if whole is None or not high else whole.at_least(1.0 / high)
    poly = None if bounded is None else bounded.inverse()
    if poly is None and not found.poly.has_x and found.poly.has_denominator:
        return region.near_miss(Reason.CLIPPED, node, has_root=True)
    return changed(found, poly)


# -- two operands -----------------------------------------------------------------------------------------------
def binary(region: Region, node: ir.Node) -> RuleResult:
    """Follow Add, Sub, Mul, Div, and Sum of two."""
    if len(node.inputs) != 2:
        return None
    scaled = _scaled_unfinished(region, node)
    if scaled is not None:
        return scaled
    one, two = region.operand(node, 0), region.operand(node, 1)
    if isinstance(one, NearMiss) or isinstance(two, NearMiss):
        return _with_near_miss(region, node, one, two)
    if isinstance(one, Tracked) and isinstance(two, Tracked):
        return _both_tracked(region, node, one, two)
    tracked, other = (one, two) if isinstance(one, Tracked) else (two, one)
    if not isinstance(tracked, Tracked):
        return None
    tracked_first = isinstance(one, Tracked)
    if isinstance(other, Constant):
        return _with_constant(region, node, tracked, other.array, tracked_first)
    if isinstance(other, External) and other.value is not None:
        number = region.number(node, 1 if tracked_first else 0)
        if number is not None and region.keeps_size(node, tracked, other.value):
            return _with_constant(region, node, tracked, np.asarray(number), tracked_first)
        count = region.counted(other.value)
        if count is not None:
            poly = Poly.of({Monomial(n_half_powers=2): count}, region.rank(tracked.view))
            counted = Tracked(poly, tracked.view, ())
            return _both_tracked(region, node, *((tracked, counted) if tracked_first else (counted, tracked)))
        return _with_parameter(region, node, tracked, other.value, tracked_first)
    return None


def _scaled_unfinished(region: Region, node: ir.Node) -> Partial | Logarithm | None:
    """Follow a sum over some of the axes, divided by their number, or a logarithm times an exponent."""
    for index, other in ((0, 1), (1, 0)):
        found, number = region.unfinished(node, index), region.number(node, other)
        if found is None or not number or node.op_type not in ("Mul", "Div") or (node.op_type == "Div" and index):
            continue
        return replace(found, factor=found.factor * (number if node.op_type == "Mul" else 1.0 / number))
    return None


def _with_near_miss(region: Region, node: ir.Node, one: object, two: object) -> RuleResult:
    """Keep what is no moment; multiplied with the data after a root was taken, it is a near miss."""
    near_miss = [operand for operand in (one, two) if isinstance(operand, NearMiss)]
    others = [operand for operand in (one, two) if isinstance(operand, Tracked)]
    rooted = [operand for operand in near_miss if operand.has_root]
    has_data = len(near_miss) == 2 or any(operand.poly.degree for operand in others)
    if node.op_type in ("Mul", "Div") and rooted and has_data:
        region.record_near_miss(node, rooted[0].obstacle)
        return None
    return rooted[0] if rooted else near_miss[0]


def _both_tracked(region: Region, node: ir.Node, one: Tracked, two: Tracked) -> RuleResult:
    if one.view != two.view:
        return None
    axes = _aligned_axes(region, one, two)
    if axes is None:
        lost = region.near_miss(Reason.DIMENSION_LOST, node, "a reduced value lost the axes that it is aligned by")
        if node.op_type in ("Mul", "Div") and (one.poly.has_denominator or two.poly.has_denominator):
            region.record_near_miss(node, lost.obstacle)
            return None
        return lost
    poly = _combined(node.op_type, one.poly, two.poly)
    if poly is not None:
        return Tracked(poly, one.view, axes)
    if node.op_type == "Div" and one.poly.has_denominator and two.poly.has_x:
        region.record_near_miss(node, region.near_miss(Reason.INVERTED, node).obstacle)
    return None


def _combined(operator: str, one: Poly, two: Poly) -> Poly | None:
    if operator in ("Add", "Sum"):
        return one.plus(two)
    if operator == "Sub":
        return one.plus(two.scaled(-1.0))
    if operator == "Mul":
        return one.times(two)
    inverse = two.inverse()
    return None if inverse is None else one.times(inverse)


def _aligned_axes(region: Region, one: Tracked, two: Tracked) -> tuple[int | None, ...] | None:
    """Return the axes of the result of broadcasting; None where the two do not run along the same axes."""
    if len(one.axes) == len(two.axes):
        joined = tuple(a if b is None else b if a in (None, b) else -1 for a, b in zip(one.axes, two.axes, strict=True))
        known = [axis for axis in joined if axis is not None]
        return joined if len(set(known)) == len(known) and -1 not in known else None
    rank, length = region.rank(one.view), max(len(one.axes), len(two.axes))
    result: list[int | None] = [None] * length
    for axes in (one.axes, two.axes):
        for position, axis in enumerate(reversed(axes)):
            if axis is not None and axis != rank - 1 - position:
                return None
            result[-1 - position] = axis if axis is not None else result[-1 - position]
    return tuple(result)


def _with_constant(region: Region, node: ir.Node, tracked: Tracked, array: Array, tracked_first: bool) -> RuleResult:
    placed = _coefficient(region, tracked, np.asarray(array, dtype=np.float64))
    if placed is None:
        return None
    axes, coefficient = placed
    if _makes_room_for_squares(region, node, tracked, coefficient):
        return None
    if node.op_type in ("Mul", "Add", "Sum"):
        return with_array("Mul" if node.op_type == "Mul" else "Add", tracked, coefficient, axes)
    if node.op_type == "Sub":
        poly = tracked.poly if tracked_first else tracked.poly.scaled(-1.0)
        return with_array(
            "Add", Tracked(poly, tracked.view, tracked.axes), -coefficient if tracked_first else coefficient, axes
        )
    if tracked_first:
        with np.errstate(divide="ignore"):
            return with_array("Mul", tracked, 1.0 / coefficient, axes)
    inverse = tracked.poly.inverse()
    if inverse is None:
        return no_root(region, node, tracked)
    return with_array("Mul", Tracked(inverse, tracked.view, tracked.axes), coefficient, axes)


def _makes_room_for_squares(region: Region, node: ir.Node, tracked: Tracked, coefficient: Array) -> bool:
    """Return whether a float16 norm reads its input through a factor below 1, so that its squares do not overflow.

    Algebra says that the factor is dead; on hardware that squares in float16 it is not. A mean that is written as the
    sum of ``x / n`` has one reader, and is none.
    """
    value, poly = node.outputs[0], tracked.poly
    if region.reader.dtype(value) is not ir.DataType.FLOAT16 or node.op_type not in ("Mul", "Div"):
        return False
    size = np.abs(coefficient if node.op_type == "Mul" else 1.0 / coefficient)
    readers = value.consumers()
    is_input = poly.has_x and poly.degree == 1 and not poly.has_denominator and not poly.has_parameters
    is_norm = len(readers) > 1 or any(reader.op_type.endswith("Normalization") for reader in readers)
    return is_input and is_norm and bool((size < 1).any())


def with_array(operator: str, tracked: Tracked, coefficient: Array, axes: tuple[int | None, ...]) -> RuleResult:
    """Return ``tracked`` times or plus a constant; None where that is not finite."""
    if not np.isfinite(coefficient).all():
        return None
    if operator == "Mul":
        return Tracked(tracked.poly.scaled(coefficient), tracked.view, axes)
    total = tracked.poly.plus(Poly({ONE: coefficient}, tracked.poly.rank))
    return None if total is None else Tracked(total, tracked.view, axes)


def _coefficient(region: Region, tracked: Tracked, array: Array) -> tuple[tuple[int | None, ...], Array] | None:
    """Return the axes of the result, and a constant aligned to the view, whichever way the value is transposed."""
    placed = _placed(region, tracked, array.shape)
    if placed is not None:
        return placed[0], array.reshape(placed[1])
    rank = region.rank(tracked.view)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim < rank else array
    for order in region.orders if tracked.view == 0 and len(tracked.axes) == array.ndim == rank else ():
        sizes = tuple(region.size(0, axis) for axis in order)
        is_along = all(axis in (None, own) for axis, own in zip(tracked.axes, order, strict=True))
        if is_along and all(size in (1, own) for size, own in zip(array.shape, sizes, strict=True)):
            axes = [
                axis if size == 1 else own for axis, size, own in zip(tracked.axes, array.shape, order, strict=True)
            ]
            return tuple(axes), array.transpose(np.argsort(order))
    return None


def _placed(
    region: Region, tracked: Tracked, shape: tuple[int, ...]
) -> tuple[tuple[int | None, ...], tuple[int, ...]] | None:
    """Return the axes of the result, and the sizes of an operand of ``shape`` aligned to the view, or None."""
    rank = region.rank(tracked.view)
    if len(shape) > rank:
        return None
    length = max(len(shape), len(tracked.axes))
    axes: list[int | None] = [*(None,) * (length - len(tracked.axes)), *tracked.axes]
    sizes = [1] * rank
    for position, size in enumerate(reversed(shape)):
        if size == 1:
            continue
        own, aligned = axes[-1 - position], rank - 1 - position
        if own not in (None, aligned) or region.size(tracked.view, aligned) != size:
            return None
        axes[-1 - position] = aligned
        sizes[aligned] = size
    return tuple(axes), tuple(sizes)


def _with_parameter(
    region: Region, node: ir.Node, tracked: Tracked, value: ir.Value, tracked_first: bool
) -> RuleResult:
    """Multiply or add a value computed elsewhere: of static shape, and only on what is a norm already."""
    shape = region.reader.shape(value)
    if not tracked.poly.has_denominator or shape is None or not all(isinstance(size, int) for size in shape):
        return None
    if region.reader.dtype(value) not in FLOATS or (node.op_type == "Div"):
        return None
    sizes = tuple(int(size) for size in shape if isinstance(size, int))
    placed = _placed(region, tracked, sizes)
    if placed is None or value.producer() in region.nodes:
        return None
    axes, aligned = placed
    monomial = Monomial(parameters=(region.parameter(value, aligned),))
    factor = Poly.of({monomial: 1.0}, region.rank(tracked.view))
    if node.op_type == "Mul":
        poly = tracked.poly.times(factor)
    elif node.op_type != "Sub" or tracked_first:
        poly = tracked.poly.plus(factor.scaled(-1.0 if node.op_type == "Sub" else 1.0))
    else:
        poly = tracked.poly.scaled(-1.0).plus(factor)
    return None if poly is None else Tracked(poly, tracked.view, axes)
