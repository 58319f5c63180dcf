"""What changes of shape make of polynomials. Operators as in https://onnx.ai/onnx/operators/."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fuse.recognize.polynomial import Monomial, Parameter, Poly
from normfold.fuse.recognize.region import NearMiss, Region, RuleResult, Tracked, of_data
from normfold.fuse.recognize.views import Sizes, count_of, moved, moved_sizes, same_shape
from normfold.graph.reader import attribute, input_at


def relayout(region: Region, node: ir.Node) -> RuleResult:
    """Follow Reshape, Flatten, Squeeze, Unsqueeze: another view; of a reduced value, other sizes of 1."""
    partial = region.partial(node, 0)
    if partial is not None:
        tracked = _relaid(region, node, partial.tracked, may_be_root=False)
        return replace(partial, tracked=tracked) if isinstance(tracked, Tracked) else partial.instead
    found = region.operand(node, 0)
    if isinstance(found, NearMiss):
        return found
    if not isinstance(found, Tracked) or (len(node.inputs) > 1 and node.inputs[1] in region.tracked):
        return None
    if not region.is_whole(found) or not (found.poly.has_x or found.poly.has_denominator):
        return _relaid(region, node, found)
    view = _target_view(region, node)
    return None if view is None else _in_view(region, found, view)


def _target_view(region: Region, node: ir.Node) -> int | None:
    """Return the view that a layout operator leads to."""
    target = input_at(node, 1)
    shape = target.producer() if target is not None else None
    while shape is not None and shape.op_type in ("Cast", "Identity") and shape.inputs[0] is not None:
        shape = shape.inputs[0].producer()
    if node.op_type == "Reshape" and shape is not None and shape.op_type == "Shape" and not shape.attributes:
        measured = region.tracked.get(shape.inputs[0]) if shape.inputs[0] is not None else None
        if isinstance(measured, Tracked) and region.is_whole(measured):
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


def _in_view(region: Region, found: Tracked, view: int) -> RuleResult:
    """Return a whole value in another view."""
    old, new = region.views[found.view], region.views[view]
    change: dict[Monomial, tuple[Monomial, Array]] = {}
    for term, array in found.poly.terms.items():
        coefficient = moved(array, old, new)
        parameters = _moved_parameters(region, term.parameters, old, new)
        if coefficient is None or parameters is None:
            return None
        change[term] = (term._replace(parameters=parameters), coefficient)
    return Tracked(found.poly.reshaped(change, len(new)), view, region.whole(view))


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


def _relaid(region: Region, node: ir.Node, found: Tracked, *, may_be_root: bool = True) -> RuleResult:
    """Return a reduced value with its axes in order among new or fewer sizes of 1."""
    sizes = region.sizes(node.outputs[0])
    as_root = _reduced_like_root(region, found, sizes) if may_be_root and sizes is not None else None
    if as_root is not None:
        return as_root
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _squeezed(region, node, found)
    if sizes is None:
        return None
    axes = [axis for axis in found.axes if axis is not None]
    own = tuple(region.size(found.view, axis) for axis in axes)
    kept = tuple(size for size in sizes if size != 1)
    if same_shape(kept, own):
        region.learn_equal(kept, own)
        return Tracked(found.poly, found.view, tuple(None if size == 1 else axes.pop(0) for size in sizes))
    return None


def _squeezed(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    numbers, axes = region.reader.axes(node), list(found.axes)
    if not numbers:
        return None
    if node.op_type == "Squeeze":
        gone = {axis % len(axes) for axis in numbers}
        if any(axes[axis] is not None for axis in gone):
            return None
        return Tracked(
            found.poly, found.view, tuple(axis for position, axis in enumerate(axes) if position not in gone)
        )
    rank = len(axes) + len(numbers)
    new = {axis % rank for axis in numbers}
    return Tracked(found.poly, found.view, tuple(None if position in new else axes.pop(0) for position in range(rank)))


def _reduced_like_root(region: Region, found: Tracked, sizes: Sizes) -> RuleResult:
    """Return what was reduced in another view, as if it had been reduced in the root's own shape."""
    root, view = region.views[0], region.views[found.view]
    order = [axis for axis in found.axes if axis is not None]
    if found.view == 0 or order != sorted(order) or found.poly.has_parameters:
        return None
    axes = region.reduction.grouping.axes
    if _is_each_channel(view, order, root):
        axes = tuple(range(2, len(root)))
    if axes is None or not same_shape(sizes, tuple(1 if axis in axes else size for axis, size in enumerate(root))):
        return None
    terms = {term: moved(array, view, root) for term, array in found.poly.terms.items()}
    known = {term: array for term, array in terms.items() if array is not None}
    whole = tuple(None if axis in axes else axis for axis in region.whole(0))
    return Tracked(Poly(known, len(sizes)), 0, whole) if len(known) == len(terms) else None


def _is_each_channel(view: Sizes, kept: list[int], root: Sizes) -> bool:
    """Say whether a value that keeps these axes of a view of ``root`` has a number for each sample and channel."""
    lead = kept[-1] + 1 if kept else 0
    is_whole = all(axis in kept or size == 1 for axis, size in enumerate(view[:lead]))
    return is_whole and len(root) > 1 and view[0] == root[0] and count_of(view[1:lead]) == root[1]


@of_data
def transpose(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    """Follow a Transpose: its positions run along other axes of the same view."""
    perm = attribute(node, "perm") or tuple(reversed(range(len(found.axes))))
    return Tracked(found.poly, found.view, tuple(found.axes[position] for position in perm))


@of_data
def expand(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    """Follow a reduced value that is repeated up to the size of its view, never beyond."""
    own, sizes = region.views[found.view], region.sizes(node.outputs[0]) or ()
    lead = len(own) - len(found.axes)
    is_aligned = lead >= 0 and all(axis in (None, lead + position) for position, axis in enumerate(found.axes))
    fits = len(sizes) == len(own) and all(size in (1, known) for size, known in zip(sizes, own, strict=True))
    if not is_aligned or not (fits or _expands_to_view(region, node, found)):
        return None
    given, whole = (*(None,) * lead, *found.axes), region.whole(found.view)
    axes = tuple(a if size == 1 else b for size, a, b in zip(sizes if fits else own, given, whole, strict=True))
    return Tracked(found.poly, found.view, axes)


def _expands_to_view(region: Region, node: ir.Node, found: Tracked) -> bool:
    """Say whether it expands to the shape of a value of the region."""
    target = node.inputs[1]
    shape = None if target is None else target.producer()
    if shape is None or shape.op_type != "Shape" or shape.attributes or shape.inputs[0] is None:
        return False
    measured = region.tracked.get(shape.inputs[0])
    return isinstance(measured, Tracked) and measured.view == found.view and region.is_whole(measured)
