"""Conv and ConvTranspose of any rank and group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import along, bias_of, channels, fitted, single_label, weight_of
from normfold.fold.rule import Labels, require
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute


def _weight_and_bias(reader: GraphReader, node: ir.Node) -> tuple[Weight, Array | None]:
    """W, and b of [M] or None; M is the first axis of a Conv's W, the second times the groups of a ConvTranspose's."""
    weight, bias = weight_of(reader, node, 1), bias_of(reader, node, 2)
    turned = node.op_type == "ConvTranspose"
    count = weight.shape[1] * _groups(node) if turned else weight.shape[0]
    shape = (count,) if bias is None else bias.shape
    require(shape == (count,), Reason.UNKNOWN_SHAPE, node, f"a bias of {list(shape)} for {count} channels")
    return weight, bias


def _groups(node: ir.Node) -> int:
    groups = int(attribute(node, "group", 1))
    require(groups >= 1, Reason.PARAMETERS_MISFIT, node, f"{groups} groups")
    return groups


def conv_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(W*x + b) + t = (s*W)*x + (s*b + t). W is [M, C/group, kernel...], s and t are [M]."""
    weight, bias = _weight_and_bias(reader, node)
    scale, shift = channels(node, single_label(node, labels), weight.shape[0])
    wanted = scale * (0.0 if bias is None else bias) + shift
    return _linear(reader, node, scale, weight * scale.reshape(_column(weight)), bias, wanted, along(0), by_output=True)


def conv_transpose_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Conv, with W of [C, M/group, kernel...]: output channel ``g*M/group + m`` is column m of group g."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    scale, shift = channels(node, single_label(node, labels), weight.shape[1] * groups)
    wanted = scale * (0.0 if bias is None else bias) + shift
    factor = _by_group(scale, groups, weight, each=weight.shape[0] // groups)
    return _linear(reader, node, scale, weight * factor, bias, wanted, _largest_by_column(groups))


def _linear(
    reader: GraphReader,
    node: ir.Node,
    scale: Array,
    weight: Weight,
    bias: Array | None,
    wanted: Array,
    rows: Callable[[Weight], Array],
    *,
    by_output: bool = False,
) -> Rewrite:
    """Return the new weight (where the scale is not 1) and the new bias (where it differs from the one there was)."""
    changed: dict[int, Array | Weight] = {} if (scale == 1).all() else {1: weight}
    before = np.zeros_like(wanted) if bias is None else bias
    if not np.array_equal(before, wanted):
        changed[2] = wanted
    return Rewrite(node, inputs=fitted(reader, node, 1, changed, rows, wanted if by_output else None))


def _column(weight: Weight) -> tuple[int, ...]:
    """Return the shape of a vector along the first axis."""
    return (-1, *[1] * (weight.ndim - 1))


def _by_group(vector: Array, groups: int, weight: Weight, each: int) -> Array:
    """Return a vector of [groups * columns] along the second axis of W, whose first has ``each`` rows of a group."""
    table = vector.reshape(groups, -1)
    rows = table if groups == 1 else np.repeat(table, each, axis=0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


def _largest_by_column(groups: int) -> Callable[[Weight], Array]:
    """Return the largest magnitude of a weight for each column of each group."""

    def largest(weight: Weight) -> Array:
        columns = weight.largest((0, 1))
        found: Array = columns.reshape(groups, -1, columns.shape[1]).max(axis=1, initial=0.0)
        return found

    return largest


def conv_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """W*(s*x + t) + b = (W*s)*x + (sum of W*t + b): a scale at any padding, a shift only without padding."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    affine = single_label(node, labels)
    scale, shift = channels(node, affine, weight.shape[1] * groups)
    require(affine.has_no_shift or not _pads(node, weight), Reason.ZERO_PADDING, node, f"pads {_pads(node, weight)}")
    each = weight.shape[0] // groups
    wanted = np.zeros(weight.shape[0]) if bias is None else bias
    if not affine.has_no_shift:
        wanted = wanted + (weight * _by_group(shift, groups, weight, each)).sum(tuple(range(1, weight.ndim)))
    scaled = weight * _by_group(scale, groups, weight, each)
    return _linear(reader, node, scale, scaled, bias, wanted, _largest_by_column(groups))


def _pads(node: ir.Node, weight: Weight) -> list[int] | str:
    """Return the padding that stops a shift, as a list or as the automatic mode; empty where there is none."""
    mode = str(attribute(node, "auto_pad", "NOTSET"))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return mode if any(size != 1 for size in weight.shape[2:]) else []
    pads = [int(pad) for pad in attribute(node, "pads", ())]
    return pads if any(pads) else []


def conv_transpose_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Conv for a scale. A shift would meet each output position a different number of times, but for 1x1 kernels."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    affine = single_label(node, labels)
    scale, shift = channels(node, affine, weight.shape[0])
    pointwise = all(size == 1 for size in weight.shape[2:]) and not any(attribute(node, "pads", ()))
    pointwise = (
        pointwise
        and all(step == 1 for step in attribute(node, "strides", ()))
        and "output_shape" not in node.attributes
    )
    pointwise = pointwise and not any(attribute(node, "output_padding", ()))
    require(affine.has_no_shift or pointwise, Reason.ZERO_PADDING, node, "not every output position meets every weight")
    wanted = np.zeros(weight.shape[1] * groups) if bias is None else bias
    if not affine.has_no_shift:
        grouped = np.asarray(weight * shift.reshape(_column(weight))).reshape(groups, -1, *weight.shape[1:])
        wanted = wanted + grouped.sum(axis=(1, *range(3, grouped.ndim))).reshape(-1)
    return _linear(reader, node, scale, weight * scale.reshape(_column(weight)), bias, wanted, along(0))
