"""What each operator makes of polynomials: one small rule an operator, one table.

A rule returns what its outputs are (``Seen``), or that they look like a moment but are none (``Broken``), or None:
the operator is not part of the region. Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from normfold.affine import Array
from normfold.fold.find import source_of
from normfold.fuse.moments import ONE, Monomial, Parameter, Poly
from normfold.fuse.region import Broken, Constant, Foreign, Outcome, Region, Rule, Seen
from normfold.fuse.views import Sizes, count_of, moved, moved_sizes, same_shape
from normfold.graph import FLOATS, attribute
from normfold.reason import Reason, Refusal


# -- one operand ------------------------------------------------------------------------------------------------
def _same(region: Region, node: ir.Node) -> Outcome:
    """Identity, and Dropout at inference."""
    found = region.operand(node, 0)
    return found if isinstance(found, (Seen, Broken)) else None


def _dropout(region: Region, node: ir.Node) -> Outcome:
    training = region.operand(node, 2)
    if isinstance(training, Seen | Broken) or (isinstance(training, Foreign) and training.value is not None):
        return None
    if isinstance(training, Constant) and training.array.any():
        return None
    return None if any(output.name and output.uses() for output in node.outputs[1:]) else _same(region, node)


def _cast(region: Region, node: ir.Node) -> Outcome:
    return _same(region, node) if ir.DataType(attribute(node, "to", 0)) in FLOATS else None


def _cast_like(region: Region, node: ir.Node) -> Outcome:
    target = node.inputs[1] if len(node.inputs) > 1 else None
    is_float = target is not None and region.reader.dtype(target) in FLOATS
    return _same(region, node) if is_float else None


def _unary(change: Callable[[Poly], Poly | None]) -> Rule:
    """A function of one value, element by element."""

    def rule(region: Region, node: ir.Node) -> Outcome:
        found = region.operand(node, 0)
        return _changed(found, change(found.poly)) if isinstance(found, Seen) else None

    return rule


def _changed(seen: Seen, poly: Poly | None) -> Seen | None:
    return None if poly is None else Seen(poly, seen.view, seen.axes)


def _rooted(change: Callable[[Poly], Poly | None]) -> Rule:
    """Sqrt and Reciprocal: of a value that is no moment, they make what a norm divides by."""

    def rule(region: Region, node: ir.Node) -> Outcome:
        found = region.operand(node, 0)
        if isinstance(found, Broken):
            return Broken(found.obstacle, is_rooted=True)
        if not isinstance(found, Seen):
            return None
        poly = change(found.poly)
        return _no_root(region, node, found) if poly is None else Seen(poly, found.view, found.axes)

    return rule


def _no_root(region: Region, node: ir.Node, seen: Seen) -> Outcome:
    """Why no root can be taken of what should be variance + epsilon."""
    if seen.poly.has_x or seen.poly.degree != 2:
        return None
    epsilon = next((array for term, array in seen.poly.terms.items() if term == ONE), np.zeros(1))
    if epsilon.size > 1:
        return region.broken(
            Reason.EPSILON_VARIES, node, f"from {epsilon.min():.3g} to {epsilon.max():.3g}", is_rooted=True
        )
    return region.broken(Reason.NOT_A_VARIANCE, node, is_rooted=True)


def _power(region: Region, node: ir.Node) -> Outcome:
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
        return _no_root(region, node, found)
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


def _clip(region: Region, node: ir.Node) -> Outcome:
    """A bound on the spread, as in x / max(|x|, 1e-12): equal to no norm operator where it binds."""
    found = [region.operand(node, index) for index in range(len(node.inputs))]
    seen = [operand for operand in found if isinstance(operand, (Seen, Broken))]
    if len(seen) != 1:
        return None
    if isinstance(seen[0], Broken):
        return seen[0]
    is_moment = not seen[0].poly.has_x and seen[0].poly.degree + seen[0].poly.has_spread > 0
    rooted = seen[0].poly.has_spread
    return region.broken(Reason.CLIPPED, node, is_rooted=rooted) if is_moment else None


# -- two operands -----------------------------------------------------------------------------------------------
def _binary(region: Region, node: ir.Node) -> Outcome:
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
    if operator == "Add":
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
    if node.op_type in ("Mul", "Add"):
        return _arithmetic(node.op_type, seen, coefficient, axes)
    if node.op_type == "Sub":
        poly = seen.poly if seen_first else seen.poly.scaled(-1.0)
        return _arithmetic("Add", Seen(poly, seen.view, seen.axes), -coefficient if seen_first else coefficient, axes)
    if seen_first:
        with np.errstate(divide="ignore"):
            return _arithmetic("Mul", seen, 1.0 / coefficient, axes)
    inverse = seen.poly.inverse()
    if inverse is None:
        if seen.poly.has_x and seen.poly.has_spread:
            return None
        return _no_root(region, node, seen)
    return _arithmetic("Mul", Seen(inverse, seen.view, seen.axes), coefficient, axes)


def _arithmetic(operator: str, seen: Seen, coefficient: Array, axes: tuple[int | None, ...]) -> Outcome:
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
    elif node.op_type == "Add" or seen_first:
        poly = seen.poly.plus(factor.scaled(1.0 if node.op_type == "Add" else -1.0))
    else:
        poly = seen.poly.scaled(-1.0).plus(factor)
    return None if poly is None else Seen(poly, seen.view, axes)


def _is_along_one(region: Region, sizes: tuple[int, ...]) -> bool:
    """Whether a parameter varies along the norm's own axes only, or along the channels only."""
    varying = {axis for axis, size in enumerate(sizes) if size > 1}
    return varying <= {1} or varying <= set(region.home.grouping.axes or ())


# -- reductions -------------------------------------------------------------------------------------------------
def reduced_axes(region_or_reader: Callable[[], Array | None], node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, sorted and positive; None where they are computed at run time."""
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    given = attribute(node, "axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        array = region_or_reader()
        if array is None:
            return None
        given = [int(axis) for axis in np.asarray(array).reshape(-1)]
    if not given:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({int(axis) % rank for axis in given}))


def _reduce(moment: Callable[[Region, Poly, tuple[int, ...], int], Poly | None]) -> Rule:
    def rule(region: Region, node: ir.Node) -> Outcome:
        found = region.operand(node, 0)
        if not isinstance(found, Seen):
            return found if isinstance(found, Broken) else None
        axes = reduced_axes(lambda: region.reader.constant(node.inputs[1]), node, len(found.axes))
        if axes is None:
            detail = "the axes are an input"
            return region.broken(Reason.DYNAMIC_AXES, node, detail) if found.poly.degree == 2 else None
        keep = bool(attribute(node, "keepdims", 1)) or node.op_type == "GlobalAveragePool"
        kept = tuple(None if p in axes else axis for p, axis in enumerate(found.axes) if keep or p not in axes)
        if not region.is_whole(found) or (not found.poly.has_x and not found.poly.has_spread):
            is_done = all(found.axes[p] is None for p in axes) and not node.op_type.startswith(("ReduceSum", "ReduceL"))
            return Seen(found.poly, found.view, kept) if is_done else None
        if found.poly.has_spread:  # a norm of a norm starts at its own root
            return None
        if not region.is_home(found.view, axes):
            detail = f"axes {list(axes)}"
            return region.broken(Reason.AXES_DIFFER, node, detail) if found.poly.degree == 2 else None
        poly = moment(region, found.poly, axes, found.view)
        return None if poly is None else Seen(poly, found.view, kept)

    return rule


def _mean(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    return poly.expectation(axes)


def _sum(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """n * E[.]; where n is known only at run time, it is an atom."""
    mean = poly.expectation(axes)
    count = count_of([region.size(view, axis) for axis in axes])
    if mean is None:
        return None
    return mean.with_monomial(Monomial(n2=2)) if count is None else mean.scaled(float(count))


def _sum_of_squares(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    square = None if poly.expectation(axes) is None else poly.times(poly)
    return None if square is None else _sum(region, square, axes, view)


def _length(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    total = _sum_of_squares(region, poly, axes, view)
    return None if total is None else total.square_root()


# -- layout -----------------------------------------------------------------------------------------------------
def _relayout(region: Region, node: ir.Node) -> Outcome:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same elements in another view; of a reduced value, new sizes of 1."""
    found = region.operand(node, 0)
    if isinstance(found, Broken):
        return found
    if not isinstance(found, Seen) or (len(node.inputs) > 1 and node.inputs[1] in region.seen):
        return None
    if not region.is_whole(found) or not (found.poly.has_x or found.poly.has_spread):
        return _relaid(region, node, found)
    view = _target_view(region, node)
    return None if view is None else _in_view(region, found, view)


def _target_view(region: Region, node: ir.Node) -> int | None:
    """The view that a layout operator leads to."""
    target = node.inputs[1] if len(node.inputs) > 1 else None
    shape = target.producer() if target is not None else None
    while shape is not None and shape.op_type in ("Cast", "Identity") and shape.inputs[0] is not None:
        shape = shape.inputs[0].producer()
    if node.op_type == "Reshape" and shape is not None and shape.op_type == "Shape" and not shape.attributes:
        measured = region.seen.get(shape.inputs[0]) if shape.inputs[0] is not None else None
        if isinstance(measured, Seen) and region.is_whole(measured):
            return measured.view
    sizes = _target_sizes(region, node)
    return None if sizes is None else region.view_of(sizes)


def _target_sizes(region: Region, node: ir.Node) -> Sizes | None:
    sizes = region.sizes(node.outputs[0])
    source = node.inputs[0]
    before = None if source is None else region.sizes(source)
    if node.op_type != "Reshape" or before is None or attribute(node, "allowzero", 0):
        return sizes
    target = region.reader.constant(node.inputs[1])
    if target is None:
        return sizes
    numbers = [int(number) for number in target.reshape(-1)]
    known = sizes if sizes is not None else tuple(f"?{node.outputs[0].name}.{axis}" for axis in range(len(numbers)))
    if len(known) != len(numbers) or any(n == 0 and axis >= len(before) for axis, n in enumerate(numbers)):
        return None
    return tuple(n if n > 0 else before[axis] if n == 0 else known[axis] for axis, n in enumerate(numbers))


def _in_view(region: Region, found: Seen, view: int) -> Outcome:
    """A whole value in another view."""
    if view == found.view:
        return found
    old, new = region.views[found.view], region.views[view]
    change: dict[Monomial, tuple[Monomial, Array]] = {}
    for term, array in found.poly.terms.items():
        coefficient = moved(array, old, new)
        parameters = _moved_parameters(region, term.parameters, old, new)
        if coefficient is None or parameters is None:
            return None
        change[term] = (term._replace(parameters=parameters), coefficient)
    return Seen(found.poly.reshaped(change, len(new)), view, region.whole(view))


def _moved_parameters(
    region: Region, parameters: tuple[Parameter, ...], old: Sizes, new: Sizes
) -> tuple[Parameter, ...] | None:
    result = []
    for parameter in parameters:
        sizes = moved_sizes(parameter.dims, old, new)
        if sizes is None:
            return None
        result.append(region.parameter(parameter.value, sizes))
    return tuple(sorted(result, key=id))


def _relaid(region: Region, node: ir.Node, found: Seen) -> Outcome:
    """A reduced value: its axes stay in order among new or fewer sizes of 1."""
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _squeezed(region, node, found)
    sizes = region.sizes(node.outputs[0])
    if sizes is None:
        return None
    as_root = _reduced_like_root(region, found, sizes)
    if as_root is not None:
        return as_root
    axes = [axis for axis in found.axes if axis is not None]
    own = tuple(region.size(found.view, axis) for axis in axes)
    if same_shape(tuple(size for size in sizes if size != 1), own):
        return Seen(found.poly, found.view, tuple(None if size == 1 else axes.pop(0) for size in sizes))
    return None


def _squeezed(region: Region, node: ir.Node, found: Seen) -> Outcome:
    given = region.reader.constant(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes")
    if given is None:
        return None
    numbers = [int(axis) for axis in np.asarray(given).reshape(-1)]
    axes = list(found.axes)
    if node.op_type == "Squeeze":
        gone = {axis % len(axes) for axis in numbers}
        if any(axes[axis] is not None for axis in gone):
            return None
        return Seen(found.poly, found.view, tuple(axis for place, axis in enumerate(axes) if place not in gone))
    rank = len(axes) + len(numbers)
    new = {axis % rank for axis in numbers}
    return Seen(found.poly, found.view, tuple(None if place in new else axes.pop(0) for place in range(rank)))


def _reduced_like_root(region: Region, found: Seen, sizes: Sizes) -> Outcome:
    """What was reduced in another view, as if it had been reduced in the root's own shape."""
    axes = region.home.grouping.axes
    if found.view == 0 or axes is None or any(array.size > 1 for array in found.poly.terms.values()):
        return None
    if not same_shape(sizes, tuple(1 if axis in axes else size for axis, size in enumerate(region.views[0]))):
        return None
    terms = {term: array.reshape((1,) * len(sizes)) for term, array in found.poly.terms.items()}
    whole = region.whole(0)
    return Seen(Poly(terms, len(sizes)), 0, tuple(None if axis in axes else axis for axis in whole))


def _expand(region: Region, node: ir.Node) -> Outcome:
    """A reduced value repeated up to the size of its view; never beyond."""
    found = region.operand(node, 0)
    if isinstance(found, Broken):
        return found
    sizes = region.sizes(node.outputs[0])
    if not isinstance(found, Seen) or sizes is None:
        return None
    rank = region.rank(found.view)
    own = region.views[found.view]
    fits = len(sizes) == rank and all(size in (1, known) for size, known in zip(sizes, own, strict=True))
    is_aligned = len(found.axes) <= rank and all(
        axis in (None, rank - len(found.axes) + place) for place, axis in enumerate(found.axes)
    )
    if not is_aligned or not (fits or _expands_to_view(region, node, found)):
        return None
    lead = (None,) * (rank - len(found.axes))
    given = (*lead, *found.axes)
    whole = region.whole(found.view)
    if not fits:
        return Seen(found.poly, found.view, whole)
    axes = tuple(
        axis if size == 1 else whole[place] for place, (size, axis) in enumerate(zip(sizes, given, strict=True))
    )
    return Seen(found.poly, found.view, axes)


def _expands_to_view(region: Region, node: ir.Node, found: Seen) -> bool:
    """Expand to the shape of a value of the region."""
    target = node.inputs[1]
    shape = None if target is None else target.producer()
    if shape is None or shape.op_type != "Shape" or shape.attributes or shape.inputs[0] is None:
        return False
    measured = region.seen.get(shape.inputs[0])
    return isinstance(measured, Seen) and measured.view == found.view and region.is_whole(measured)


# -- operators that are norms themselves ------------------------------------------------------------------------
def _norm(region: Region, node: ir.Node) -> tuple[Outcome, ...] | None:
    """A norm operator in terms of the same moments, so that arithmetic around it merges with it."""
    found = region.operand(node, 0)
    if not isinstance(found, Seen) or not region.is_whole(found) or not found.poly.has_x or found.poly.has_spread:
        return None
    spec = norm_spec(node, region.rank(found.view))
    if spec is None or not _takes_home_moments(region, found, spec.axes, spec.groups):
        return None
    axes = None if spec.axes is None else spec.axes
    mean = found.poly.expectation(axes)
    square = None if mean is None else found.poly.times(found.poly)
    second = None if square is None else square.expectation(axes)
    if mean is None or second is None:
        return None
    rank = found.poly.rank
    centred: Poly | None = found.poly
    if spec.is_centred:
        below = mean.times(mean)
        centred = found.poly.plus(mean.scaled(-1.0))
        second = None if below is None else second.plus(below.scaled(-1.0))
    inside = None if second is None else second.plus(Poly.of({ONE: spec.eps}, rank))
    root = None if inside is None else inside.square_root()
    if root is not None and spec.outer:
        root = root.plus(Poly.of({ONE: spec.outer}, rank))
    inverse = None if root is None else root.inverse()
    if inverse is None or centred is None:
        return None
    normed = centred.times(inverse)
    if node.op_type == "LpNormalization" and normed is not None:
        normed = _over_root_of_count(region, found.view, spec.axes or (), normed)
    result: Outcome = _changed(found, normed)
    for index, operator in ((1, "Mul"), (2, "Add")):
        result = _with_own_parameter(region, node, result, index, operator)
    reduced = tuple(None if spec.axes and axis in spec.axes else axis for axis in found.axes)
    return (result, Seen(mean, found.view, reduced), Seen(inverse, found.view, reduced))


def _over_root_of_count(region: Region, view: int, axes: tuple[int, ...], poly: Poly) -> Poly | None:
    """LpNormalization divides by the root of a sum, not of a mean."""
    count = count_of([region.size(view, axis) for axis in axes])
    return poly.with_monomial(Monomial(n2=-1)) if count is None else poly.scaled(float(count) ** -0.5)


def _takes_home_moments(region: Region, seen: Seen, axes: tuple[int, ...] | None, groups: int | None) -> bool:
    if groups is not None and axes is None:
        return seen.view == 0 and groups == region.home.grouping.groups
    return axes is not None and region.is_home(seen.view, axes)


def _with_own_parameter(region: Region, node: ir.Node, seen: Outcome, index: int, operator: str) -> Outcome:
    """The norm's own scale or bias: along axis 1 for InstanceNormalization and GroupNormalization, else the last."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or not isinstance(seen, Seen):
        return seen
    rank = region.rank(seen.view)
    shape = region.reader.shape(value)
    if shape is None:
        return None
    sizes = [1] * (rank - len(shape)) + [size for size in shape if isinstance(size, int)]
    if node.op_type in ("InstanceNormalization", "GroupNormalization"):
        sizes = [1, *sizes[rank - 1 :], *[1] * (rank - 2)] if rank >= 2 else sizes
    if len(sizes) != rank or any(
        size not in (1, own) for size, own in zip(sizes, region.views[seen.view], strict=True)
    ):
        return _grouped_parameter(region, node, seen, value, operator)
    operand = region.operand(node, index)
    if isinstance(operand, Constant):
        return _arithmetic(operator, seen, np.asarray(operand.array, np.float64).reshape(sizes), seen.axes)
    if not isinstance(operand, Foreign):
        return None
    factor = Poly.of({Monomial(parameters=(region.parameter(value, tuple(sizes)),)): 1.0}, rank)
    poly = seen.poly.times(factor) if operator == "Mul" else seen.poly.plus(factor)
    return None if poly is None else Seen(poly, seen.view, seen.axes)


def _grouped_parameter(region: Region, node: ir.Node, seen: Seen, value: ir.Value, operator: str) -> Outcome:
    """GroupNormalization 18 has one scale a group."""
    array, groups = region.reader.constant(value), region.home.grouping.groups
    channels = region.size(seen.view, 1)
    if array is None or node.op_type != "GroupNormalization" or array.size != groups or not isinstance(channels, int):
        return None
    tail = (1,) * (region.rank(seen.view) - 2)
    repeated = np.repeat(np.asarray(array, np.float64).reshape(-1), channels // groups).reshape((1, channels, *tail))
    return _arithmetic(operator, seen, repeated, seen.axes)


class NormSpec:
    """What a norm operator computes: over which axes or groups, with which epsilon, about the mean or not."""

    def __init__(
        self, axes: tuple[int, ...] | None, groups: int | None, eps: float, *, is_centred: bool, outer: float = 0.0
    ) -> None:
        self.axes, self.groups, self.eps, self.is_centred, self.outer = axes, groups, eps, is_centred, outer


MVN_EPSILON = 1e-9  # added to the standard deviation, says the operator's function body


def norm_spec(node: ir.Node, rank: int) -> NormSpec | None:
    """The spec of a norm operator on a value of that rank; None for every other operator, and for other Lp norms."""
    axis = int(attribute(node, "axis", -1)) % rank if rank else 0
    eps = float(attribute(node, "epsilon", 1e-5))
    if node.op_type == "LayerNormalization":
        return NormSpec(tuple(range(axis, rank)), None, eps, is_centred=True)
    if node.op_type in ("RMSNormalization", "SimplifiedLayerNormalization"):
        return NormSpec(tuple(range(axis, rank)), None, eps, is_centred=False)
    if node.op_type == "InstanceNormalization":
        return NormSpec(tuple(range(2, rank)), None, eps, is_centred=True) if rank >= 3 else None
    if node.op_type == "GroupNormalization":
        return NormSpec(None, int(attribute(node, "num_groups", 0)), eps, is_centred=True)
    if node.op_type == "LpNormalization" and attribute(node, "p", 2) == 2:
        return NormSpec((axis,), None, 0.0, is_centred=False)
    if node.op_type == "MeanVarianceNormalization":
        axes = attribute(node, "axes", (0, 2, 3))
        if not all(-rank <= axis < rank for axis in axes):
            return None
        return NormSpec(tuple(sorted(int(a) % rank for a in axes)), None, 0.0, is_centred=True, outer=MVN_EPSILON)
    return None


def _batchnorm(region: Region, node: ir.Node) -> Outcome:
    """With frozen statistics it is a scale and a shift."""
    found = region.operand(node, 0)
    if not isinstance(found, Seen) or not region.is_whole(found) or not found.poly.has_spread:
        return None
    try:
        affine = source_of(region.reader, node).affine
    except Refusal:
        return None
    if affine.rank != region.rank(found.view):
        return None
    scaled = Seen(found.poly.scaled(affine.scale), found.view, found.axes)
    return _arithmetic("Add", scaled, affine.shift, found.axes)


NORM_OPERATORS = (
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
)
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool")

RULES: Mapping[str, Rule] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Neg": _unary(lambda poly: poly.scaled(-1.0)),
    "Sqrt": _rooted(Poly.square_root),
    "Reciprocal": _rooted(Poly.inverse),
    "Pow": _power,
    "Clip": _clip,
    "Max": _clip,
    "Add": _binary,
    "Sub": _binary,
    "Mul": _binary,
    "Div": _binary,
    "ReduceMean": _reduce(_mean),
    "GlobalAveragePool": _reduce(_mean),
    "ReduceSum": _reduce(_sum),
    "ReduceSumSquare": _reduce(_sum_of_squares),
    "ReduceL2": _reduce(_length),
    "Reshape": _relayout,
    "Flatten": _relayout,
    "Squeeze": _relayout,
    "Unsqueeze": _relayout,
    "Expand": _expand,
    "BatchNormalization": _batchnorm,
    **dict.fromkeys(NORM_OPERATORS, _norm),
}
