"""What reductions make of polynomials: the moments. Operators as in https://onnx.ai/onnx/operators/."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from normfold.affine import Array
from normfold.fuse.moments import Monomial, Poly
from normfold.fuse.region import Broken, Outcome, Region, Rule, Seen
from normfold.fuse.views import count_of
from normfold.graph import attribute
from normfold.reason import Reason

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool")


def reduced_axes(constant_axes: Callable[[], Array | None], node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, sorted and positive; None where they are computed at run time."""
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    given = attribute(node, "axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_axes()
        if array is None:
            return None
        given = [int(axis) for axis in np.asarray(array).reshape(-1)]
    if not given:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({int(axis) % rank for axis in given}))


def reduction(moment: Callable[[Region, Poly, tuple[int, ...], int], Poly | None]) -> Rule:
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


def mean(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    return poly.expectation(axes)


def total(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """n * E[.]; where n is known only at run time, it is an atom."""
    mean = poly.expectation(axes)
    count = count_of([region.size(view, axis) for axis in axes])
    if mean is None:
        return None
    return mean.with_monomial(Monomial(n2=2)) if count is None else mean.scaled(float(count))


def sum_of_squares(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    square = None if poly.expectation(axes) is None else poly.times(poly)
    return None if square is None else total(region, square, axes, view)


def length(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    total = sum_of_squares(region, poly, axes, view)
    return None if total is None else total.square_root()
