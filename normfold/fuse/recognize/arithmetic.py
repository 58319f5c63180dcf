"""What element-wise operators make of polynomials. Operators as in https://onnx.ai/onnx/operators/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.fuse.recognize.polynomial import ONE, Monomial, Poly
from normfold.fuse.recognize.region import Broken, Constant, Foreign, Operand, Outcome, Partial, Region, Rule, Seen
from normfold.graph.reader import FLOATS, attribute

_NO_BOUND = 3.4e38  # what Clip says where it has no upper bound


# -- one operand ------------------------------------------------------------------------------------------------
def same(region: Region, node: ir.Node) -> Outcome:
    """Identity, and Dropout at inference."""
    partial = region.partial(node, 0)
    if partial is not None:
        return partial
    found = region.operand(node, 0)
    return found if isinstance(found, (Seen, Broken)) else None


def dropout(region: Region, node: ir.Node) -> Outcome:
    training = region.operand(node, 2)
    if isinstance(training, Seen | Broken) or (isinstance(training, Foreign) and training.value is not None):
        return None
    if isinstance(training, Constant) and training.array.any():
        return None
    return None if any(output.name and output.uses() for output in node.outputs[1:]) else same(region, node)


def cast(region: Region, node: ir.Node) -> Outcome:
    return same(region, node) if ir.DataType(attribute(node, "to", 0)) in FLOATS else None


def cast_like(region: Region, node: ir.Node) -> Outcome:
    target = node.inputs[1] if len(node.inputs) > 1 else None
    is_float = target is not None and region.reader.dtype(target) in FLOATS
    return same(region, node) if is_float else None


def unary(change: Callable[[Poly], Poly | None]) -> Rule:
    """A function of one value, element by element."""

    def rule(region: Region, node: ir.Node) -> Outcome:
        found = region.operand(node, 0)
        return changed(found, change(found.poly)) if isinstance(found, Seen) else None

    return rule


def changed(seen: Seen, poly: Poly | None) -> Seen | None:
    return None if poly is None else Seen(poly, seen.view, seen.axes)


def rooted(change: Callable[[Poly], Poly | None]) -> Rule:
    """Sqrt and Reciprocal: of a value that is no moment, they make what a norm divides by."""

    def rule(region: Region, node: ir.Node) -> Outcome:
        found = region.operand(node, 0)
        if isinstance(found, Broken):
            return Broken(found.obstacle, is_rooted=True)
        if not isinstance(found, Seen):
            return None
        poly = change(found.poly)
        return no_root(region, node, found) if poly is None else Seen(poly, found.view, found.axes)

    return rule


def no_root(region: Region, node: ir.Node, seen: Seen) -> Outcome:
    """Why no root can be taken of what should be variance + epsilon."""
    is_bounded = any(spread.floor for term in seen.poly.terms for spread, _ in term.spreads)
    if seen.poly.has_x or (seen.poly.degree != 2 and not is_bounded):
        return None
    epsilon = next((array for term, array in seen.poly.terms.items() if term == ONE), np.zeros(1))
    if epsilon.size > 1:
        return region.broken(
            Reason.EPSILON_VARIES, node, f"from {epsilon.min():.3g} to {epsilon.max():.3g}", is_rooted=True
        )
    return region.broken(Reason.CLIPPED if is_bounded else Reason.NOT_A_VARIANCE, node, is_rooted=True)


def power(region: Region, node: ir.Node) -> Outcome:
    """Pow by a constant: square, root, inverse, inverse root."""
    found, exponent = region.operand(node, 0), region.number(node, 1)
    if exponent is None:
        return None
    if isinstance(found, Broken):
        return Broken(found.obstacle, is_rooted=found.is_rooted or exponent in (0.5, -0.5, -1.0))
    if not isinstance(found, Seen):
        return None
    poly = _raised(found.poly, exponent)
    if poly is not None:
        return Seen(poly, found.view, found.axes)
    if exponent in (0.5, -0.5):
        return no_root(region, node, found)
    if not found.poly.degree:
        return None
    is_rooted = not found.poly.has_x and not float(exponent).is_integer()
    return region.broken(Reason.EXPONENT, node, f"the exponent is {exponent:g}", is_rooted=is_rooted)


def _raised(poly: Poly, exponent: float) -> Poly | None:
    if exponent == 2:
        return poly.times(poly)
    if exponent in (0.5, -0.5):
        root = poly.square_root()
        return root if exponent > 0 or root is None else root.inverse()
    if exponent == 1:
        return poly
    return poly.inverse() if exponent == -1 else None


def clip(region: Region, node: ir.Node) -> Outcome:
    """Clip and Max, a bound from below: as in x / max(|x|, 1e-12), or of a variance by 0, which changes nothing."""
    operands = [region.operand(node, index) for index in range(len(node.inputs))]
    seen = [operand for operand in operands if isinstance(operand, (Seen, Broken))]
    if len(seen) != 1:
        return None
    if isinstance(seen[0], Broken):
        return seen[0]
    low = _lower_bound(region, node, operands)
    bounded = None if low is None else seen[0].poly.at_least(low)
    if bounded is not None:
        return changed(seen[0], bounded)
    is_moment = not seen[0].poly.has_x and seen[0].poly.degree + seen[0].poly.has_spread > 0
    rooted = seen[0].poly.has_spread
    return region.broken(Reason.CLIPPED, node, is_rooted=rooted) if is_moment else None


def _lower_bound(region: Region, node: ir.Node, operands: list[Operand]) -> float | None:
    """The only bound of a Clip or Max, one number from below; None where there is another."""
    if node.op_type == "Clip":
        has_high = len(operands) > 2 and node.inputs[2] is not None
        high = region.number(node, 2) if has_high else attribute(node, "max", _NO_BOUND)
        low = attribute(node, "min", None)
        low = region.number(node, 1) if low is None and len(operands) > 1 else low
        return low if high is not None and high >= _NO_BOUND else None
    if len(operands) != 2:
        return None
    other = 0 if isinstance(operands[0], Constant) else 1
    found = operands[other]
    return region.number(node, other) if isinstance(found, Constant) and found.array.size == 1 else None


def capped(region: Region, node: ir.Node) -> Outcome:
    """Min, a bound from above: ``min(1/W, 1/c)`` is ``1/max(W, c)``, as Keras writes it."""
    operands = [region.operand(node, index) for index in range(len(node.inputs))]
    seen = [operand for operand in operands if isinstance(operand, (Seen, Broken))]
    if len(seen) != 1 or len(operands) != 2:
        return None
    if isinstance(seen[0], Broken):
        return seen[0]
    high = region.number(node, 1 if operands[0] is seen[0] else 0)
    whole = seen[0].poly.inverse() if high is not None and high > 0 else None
    bounded = None if whole is None or not high else whole.at_least(1.0 / high)
    poly = None if bounded is None else bounded.inverse()
    if poly is None and not seen[0].poly.has_x and seen[0].poly.has_spread:
        return region.broken(Reason.CLIPPED, node, is_rooted=True)
    return changed(seen[0], poly)


def magnitude(region: Region, node: ir.Node) -> Outcome:
    """Abs: of the data, or of a variance, which it leaves as it is."""
    found = region.operand(node, 0)
    if isinstance(found, Broken):
        return found
    return changed(found, found.poly.magnitude()) if isinstance(found, Seen) else None


def rectified(region: Region, node: ir.Node) -> Outcome:
    """Relu of a variance leaves it as it is."""
    found = region.operand(node, 0)
    if isinstance(found, Broken):
        return found
    return found if isinstance(found, Seen) and found.poly.is_never_negative() else None


# -- two operands -----------------------------------------------------------------------------------------------
def binary(region: Region, node: ir.Node) -> Outcome:
    """Add, Sub, Mul, Div, and Sum of two."""
    if len(node.inputs) != 2:
        return None
    partial = _scaled_partial(region, node)
    if partial is not None:
        return partial
    one, two = region.operand(node, 0), region.operand(node, 1)
    if isinstance(one, Broken) or isinstance(two, Broken):
        return _with_broken(region, node, one, two)
    if isinstance(one, Seen) and isinstance(two, Seen):
        return _both_seen(region, node, one, two)
    seen, other = (one, two) if isinstance(one, Seen) else (two, one)
    if not isinstance(seen, Seen):
        return None
    seen_first = isinstance(one, Seen)
    if isinstance(other, Constant):
        return _with_constant(region, node, seen, other.array, seen_first)
    if isinstance(other, Foreign) and other.value is not None:
        return _with_parameter(region, node, seen, other.value, seen_first)
    return None


def _scaled_partial(region: Region, node: ir.Node) -> Partial | None:
    """A sum over some of the axes, divided by their number."""
    for index, other in ((0, 1), (1, 0)):
        partial, number = region.partial(node, index), region.number(node, other)
        if partial is None or not number or node.op_type not in ("Mul", "Div") or (node.op_type == "Div" and index):
            continue
        factor = partial.factor * (number if node.op_type == "Mul" else 1.0 / number)
        return replace(partial, factor=factor)
    return None


def _with_broken(region: Region, node: ir.Node, one: object, two: object) -> Outcome:
    """What is no moment stays so; multiplied with the data after a root was taken, it is a near miss."""
    broken = [operand for operand in (one, two) if isinstance(operand, Broken)]
    if any(isinstance(operand, Foreign) for operand in (one, two)):
        return None
    others = [operand for operand in (one, two) if isinstance(operand, Seen)]
    rooted = [operand for operand in broken if operand.is_rooted]
    has_data = len(broken) == 2 or any(operand.poly.degree for operand in others)
    if node.op_type in ("Mul", "Div") and rooted and has_data:
        region.miss(node, rooted[0].obstacle)
        return None
    return rooted[0] if rooted else broken[0]


def _both_seen(region: Region, node: ir.Node, one: Seen, two: Seen) -> Outcome:
    if one.view != two.view:
        return None
    axes = _aligned_axes(region, one, two)
    if axes is None:
        lost = region.broken(Reason.DIMENSION_LOST, node, "a reduced value lost the axes that it is aligned by")
        if node.op_type in ("Mul", "Div") and (one.poly.has_spread or two.poly.has_spread):
            region.miss(node, lost.obstacle)
            return None
        return lost
    poly = _combined(node.op_type, one.poly, two.poly)
    if poly is not None:
        return Seen(poly, one.view, axes)
    if node.op_type == "Div" and one.poly.has_spread and two.poly.has_x:
        region.miss(node, region.broken(Reason.INVERTED, node).obstacle)
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


def _aligned_axes(region: Region, one: Seen, two: Seen) -> tuple[int | None, ...] | None:
    """The axes of the result of broadcasting; None where the two do not run along the same axes."""
    if one.axes == two.axes:
        return one.axes
    rank, length = region.rank(one.view), max(len(one.axes), len(two.axes))
    if length > rank:
        return None
    result: list[int | None] = [None] * length
    for axes in (one.axes, two.axes):
        for position, axis in enumerate(reversed(axes)):
            if axis is not None and axis != rank - 1 - position:
                return None
            result[-1 - position] = axis if axis is not None else result[-1 - position]
    return tuple(result)


def _with_constant(region: Region, node: ir.Node, seen: Seen, array: Array, seen_first: bool) -> Outcome:
    placed = _placed(region, seen, array.shape)
    if placed is None:
        return None
    axes, sizes = placed
    coefficient = np.asarray(array, dtype=np.float64).reshape(sizes)
    if node.op_type in ("Mul", "Add", "Sum"):
        return with_array("Mul" if node.op_type == "Mul" else "Add", seen, coefficient, axes)
    if node.op_type == "Sub":
        poly = seen.poly if seen_first else seen.poly.scaled(-1.0)
        return with_array("Add", Seen(poly, seen.view, seen.axes), -coefficient if seen_first else coefficient, axes)
    if seen_first:
        with np.errstate(divide="ignore"):
            return with_array("Mul", seen, 1.0 / coefficient, axes)
    inverse = seen.poly.inverse()
    if inverse is None:
        if seen.poly.has_x and seen.poly.has_spread:
            return None
        return no_root(region, node, seen)
    return with_array("Mul", Seen(inverse, seen.view, seen.axes), coefficient, axes)


def with_array(operator: str, seen: Seen, coefficient: Array, axes: tuple[int | None, ...]) -> Outcome:
    if not np.isfinite(coefficient).all():
        return None
    if operator == "Mul":
        return Seen(seen.poly.scaled(coefficient), seen.view, axes)
    total = seen.poly.plus(Poly({ONE: coefficient}, seen.poly.rank))
    return None if total is None else Seen(total, seen.view, axes)


def _placed(
    region: Region, seen: Seen, shape: tuple[int, ...]
) -> tuple[tuple[int | None, ...], tuple[int, ...]] | None:
    """Axes of the result, and the sizes of an operand of ``shape`` aligned to the view; None where it broadcasts up."""
    rank = region.rank(seen.view)
    if len(shape) > rank:
        return None
    length = max(len(shape), len(seen.axes))
    axes: list[int | None] = [*(None,) * (length - len(seen.axes)), *seen.axes]
    sizes = [1] * rank
    for position, size in enumerate(reversed(shape)):
        if size == 1:
            continue
        own, aligned = axes[-1 - position], rank - 1 - position
        if own not in (None, aligned) or region.size(seen.view, aligned) != size:
            return None
        axes[-1 - position] = aligned
        sizes[aligned] = size
    is_aligned = all(axis in (None, rank - length + place) for place, axis in enumerate(axes))
    if any(size > 1 for size in shape) and not is_aligned:
        return None
    return tuple(axes), tuple(sizes)


def _with_parameter(region: Region, node: ir.Node, seen: Seen, value: ir.Value, seen_first: bool) -> Outcome:
    """A scale or shift computed elsewhere: of static shape, and only on what is a norm already."""
    shape = region.reader.shape(value)
    if not seen.poly.has_spread or shape is None or not all(isinstance(size, int) for size in shape):
        return None
    if region.reader.dtype(value) not in FLOATS or (node.op_type == "Div"):
        return None
    sizes = tuple(int(size) for size in shape if isinstance(size, int))
    placed = _placed(region, seen, sizes)
    if placed is None or value.producer() in region.nodes:
        return None
    axes, aligned = placed
    if not _is_along_one(region, aligned):
        return None
    monomial = Monomial(parameters=(region.parameter(value, aligned),))
    factor = Poly.of({monomial: 1.0}, region.rank(seen.view))
    if node.op_type == "Mul":
        poly = seen.poly.times(factor)
    elif node.op_type != "Sub" or seen_first:
        poly = seen.poly.plus(factor.scaled(-1.0 if node.op_type == "Sub" else 1.0))
    else:
        poly = seen.poly.scaled(-1.0).plus(factor)
    return None if poly is None else Seen(poly, seen.view, axes)


def _is_along_one(region: Region, sizes: tuple[int, ...]) -> bool:
    """Whether a parameter varies along the norm's own axes only, or along the channels only."""
    varying = {axis for axis, size in enumerate(sizes) if size > 1}
    channels = ({1}, {region.home.grouping.channel}) if region.home.grouping.groups else ({1},)
    return any(varying <= each for each in channels) or varying <= set(region.home.grouping.axes or ())
