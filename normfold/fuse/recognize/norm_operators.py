"""Operators that are norms themselves, and BatchNormalization, in terms of the same moments."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.findings.reason import Refusal
from normfold.fold.affines import affine_node_of
from normfold.fuse.recognize.arithmetic import changed, with_array
from normfold.fuse.recognize.polynomial import ONE, Monomial, Poly
from normfold.fuse.recognize.region import Constant, Region, RuleResult, Tracked
from normfold.fuse.recognize.views import count_of
from normfold.graph.reader import attribute, input_at, is_read
from normfold.graph.training import is_training
from normfold.operators.table import is_standard

NORM_OPERATORS = (
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
)


def norm(region: Region, node: ir.Node) -> tuple[RuleResult, ...] | None:
    """Return a norm operator in terms of the same moments, so that arithmetic around it merges with it."""
    found = region.operand(node, 0)
    if not isinstance(found, Tracked) or not region.is_whole(found):
        return None
    spec = norm_spec(node, region.rank(found.view))
    if spec is None or not _takes_own_moments(region, found, spec.axes, spec.groups):
        return None
    mean = found.poly.expectation(spec.axes)
    square = None if mean is None else found.poly.times(found.poly)
    second = None if square is None else square.expectation(spec.axes)
    if mean is None or second is None:
        return None
    centred = found.poly.plus(mean.scaled(-1.0)) if spec.is_centred else found.poly
    root = _deviation(found.poly, mean, second, spec)
    inverse = None if root is None else root.inverse()
    if inverse is None or centred is None:
        return None
    normed = centred.times(inverse)
    if spec.order and normed is not None:
        normed = _as_length(region, found.view, spec, normed)
    result: RuleResult = changed(found, normed)
    if node.op_type == "BatchNormalization":
        return (_with_row_affine(region, node, result),)
    for index, operator in ((1, "Mul"), (2, "Add")):
        result = _with_own_parameter(region, node, result, index, operator)
    reduced = tuple(None if spec.axes and axis in spec.axes else axis for axis in found.axes)
    return (result, Tracked(mean, found.view, reduced), Tracked(inverse, found.view, reduced))


def _with_statistics(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    """Normalize with a mean and a variance that are inputs, one of each for every row along axis 1."""
    mean, variance = (_along_axis_1(region, node, index, found.view) for index in (3, 4))
    if mean is None or variance is None:
        return None
    inside = variance.plus(Poly.of({ONE: float(attribute(node, "epsilon", 1e-5))}, found.poly.rank))
    root = None if inside is None else inside.square_root()
    inverse = None if root is None else root.inverse()
    centred = found.poly.plus(mean.scaled(-1.0))
    normed = None if centred is None or inverse is None else centred.times(inverse)
    return _with_row_affine(region, node, changed(found, normed))


def _along_axis_1(region: Region, node: ir.Node, index: int, view: int) -> Poly | None:
    """Return a vector of the region that has one number for each size of axis 1 of ``view``."""
    found = region.operand(node, index)
    is_vector = isinstance(found, Tracked) and found.view == view and len(found.axes) == 1
    return found.poly if isinstance(found, Tracked) and is_vector and found.axes[0] == region.whole(view)[1] else None


def _with_row_affine(region: Region, node: ir.Node, tracked: RuleResult) -> RuleResult:
    """Apply the scale and bias of a BatchNormalization: one number each, or constants along axis 1."""
    for index, operator in ((1, "Mul"), (2, "Add")):
        operand, number = region.operand(node, index), region.number(node, index)
        if not isinstance(tracked, Tracked):
            return None
        rank = region.rank(tracked.view)
        if number is not None:
            tracked = with_array(operator, tracked, np.full((1,) * rank, number), tracked.axes)
        elif isinstance(operand, Constant):
            array = np.asarray(operand.array, np.float64).reshape((1, -1, *(1,) * (rank - 2)))
            tracked = with_array(operator, tracked, array, tracked.axes)
        else:
            return None
    return tracked


def _deviation(poly: Poly, mean: Poly, second: Poly, spec: NormSpec) -> Poly | None:
    """Return what the operator divides by: of ``poly`` with this mean and mean square."""
    if spec.order == 1:
        own = poly.magnitude()
        return None if own is None else own.expectation(spec.axes)
    inside: Poly | None = second
    if spec.is_centred:
        below = mean.times(mean)
        inside = None if below is None else second.plus(below.scaled(-1.0))
    inside = None if inside is None else inside.plus(Poly.of({ONE: spec.eps}, poly.rank))
    root = None if inside is None else inside.square_root()
    return root.plus(Poly.of({ONE: spec.outer_eps}, poly.rank)) if root is not None and spec.outer_eps else root


def _as_length(region: Region, view: int, spec: NormSpec, poly: Poly) -> Poly | None:
    """Turn a mean into a sum: LpNormalization divides by the root of a sum."""
    count = count_of([region.size(view, axis) for axis in spec.axes or ()])
    halves = 2 // spec.order
    return (
        poly.with_monomial(Monomial(n_half_powers=-halves))
        if count is None
        else poly.scaled(float(count) ** (-halves / 2))
    )


def _takes_own_moments(region: Region, tracked: Tracked, axes: tuple[int, ...] | None, groups: int | None) -> bool:
    if groups is not None and axes is None:
        reduction = region.reduction.grouping
        return tracked.view == 0 and groups == reduction.groups and reduction.channel == 1
    return axes is not None and region.takes_moments(tracked.view, axes)


def _with_own_parameter(region: Region, node: ir.Node, tracked: RuleResult, index: int, operator: str) -> RuleResult:
    """Return the norm's own scale or bias.

    Along axis 1 for InstanceNormalization and GroupNormalization, else the last.
    """
    value = input_at(node, index)
    if value is None or not isinstance(tracked, Tracked):
        return tracked
    rank = region.rank(tracked.view)
    shape = region.reader.shape(value)
    if shape is None:
        return None
    sizes = [1] * (rank - len(shape)) + [size for size in shape if isinstance(size, int)]
    if node.op_type in ("InstanceNormalization", "GroupNormalization"):
        sizes = [1, *sizes[rank - 1 :], *[1] * (rank - 2)] if rank >= 2 else sizes
    if len(sizes) != rank or any(
        size not in (1, own) for size, own in zip(sizes, region.views[tracked.view], strict=True)
    ):
        return _grouped_parameter(region, node, tracked, value, operator)
    operand = region.operand(node, index)
    if isinstance(operand, Constant):
        return with_array(operator, tracked, np.asarray(operand.array, np.float64).reshape(sizes), tracked.axes)
    factor = Poly.of({Monomial(parameters=(region.parameter(value, tuple(sizes)),)): 1.0}, rank)
    poly = tracked.poly.times(factor) if operator == "Mul" else tracked.poly.plus(factor)
    return None if poly is None else Tracked(poly, tracked.view, tracked.axes)


def _grouped_parameter(region: Region, node: ir.Node, tracked: Tracked, value: ir.Value, operator: str) -> RuleResult:
    """Apply the one scale a group that GroupNormalization 18 has."""
    array, groups = region.reader.constant(value), region.reduction.grouping.groups
    channels = region.size(tracked.view, 1)
    if array is None or node.op_type != "GroupNormalization" or array.size != groups or not isinstance(channels, int):
        return None
    tail = (1,) * (region.rank(tracked.view) - 2)
    repeated = np.repeat(np.asarray(array, np.float64).reshape(-1), channels // groups).reshape((1, channels, *tail))
    return with_array(operator, tracked, repeated, tracked.axes)


class NormSpec:
    """What a norm operator computes: over which axes or groups, with which epsilon, about the mean or not.

    ``order`` is that of an Lp norm, 0 for the others.
    """

    def __init__(
        self, axes: tuple[int, ...] | None, groups: int | None, eps: float, *, is_centred: bool, outer_eps: float = 0.0,
        order: int = 0,
    ) -> None:  # fmt: skip
        self.axes, self.groups, self.eps, self.is_centred = axes, groups, eps, is_centred
        self.outer_eps, self.order = outer_eps, order


MVN_EPSILON = 1e-9  # added to the standard deviation, says the operator's function body


def norm_spec(node: ir.Node, rank: int) -> NormSpec | None:
    """Return what a norm operator computes on a value of that rank; None for every other operator."""
    axis = int(attribute(node, "axis", -1)) % rank if rank else 0
    eps = float(attribute(node, "epsilon", 1e-5))
    if node.op_type == "LayerNormalization":
        return NormSpec(tuple(range(axis, rank)), None, eps, is_centred=True)
    if node.op_type in ("RMSNormalization", "SimplifiedLayerNormalization"):
        return NormSpec(tuple(range(axis, rank)), None, eps, is_centred=False)
    if takes_statistics(node):
        return NormSpec(tuple(range(2, rank)), None, eps, is_centred=True) if rank >= 3 else None  # of a batch of 1
    if node.op_type == "InstanceNormalization":
        return NormSpec(tuple(range(2, rank)), None, eps, is_centred=True) if rank >= 3 else None
    if node.op_type == "GroupNormalization":
        return NormSpec(None, int(attribute(node, "num_groups", 0)), eps, is_centred=True)
    if node.op_type == "LpNormalization" and attribute(node, "p", 2) in (1, 2):
        return NormSpec((axis,), None, 0.0, is_centred=False, order=int(attribute(node, "p", 2)))
    if node.op_type == "MeanVarianceNormalization":
        axes = attribute(node, "axes", (0, 2, 3))
        return NormSpec(tuple(sorted(int(a) % rank for a in axes)), None, 0.0, is_centred=True, outer_eps=MVN_EPSILON)
    return None


def takes_statistics(node: ir.Node) -> bool:
    """Say whether a BatchNormalization normalizes with the mean and variance of what it is given."""
    return is_standard(node) and node.op_type == "BatchNormalization" and is_training(node)


def is_norm_operator(node: ir.Node) -> bool:
    """Say whether an operator of the standard computes a norm by itself."""
    return (is_standard(node) and node.op_type in NORM_OPERATORS) or takes_statistics(node)


def batchnorm(region: Region, node: ir.Node) -> RuleResult | tuple[RuleResult, ...]:
    """Follow a BatchNormalization: with frozen statistics a scale and a shift, else a norm of the rows.

    Keras writes LayerNorm as a BatchNormalization over [1, rows, n, 1], in training mode or with the statistics of the
    rows as inputs (https://github.com/onnx/tensorflow-onnx/issues/1175).
    """
    found = region.operand(node, 0)
    if not isinstance(found, Tracked) or not region.is_whole(found):
        return None
    if is_training(node):
        is_unused = not any(map(is_read, node.outputs[1:]))
        return norm(region, node) if is_unused and region.size(found.view, 0) == 1 else None
    if not found.poly.has_denominator:
        return _with_statistics(region, node, found)
    try:
        affine = affine_node_of(region.reader, node).affine
    except Refusal:
        return None
    scaled = Tracked(found.poly.scaled(affine.scale), found.view, found.axes)
    return with_array("Add", scaled, affine.shift, found.axes)
