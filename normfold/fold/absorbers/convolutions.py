"""Conv, ConvTranspose and DeformConv of any rank and group."""

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
from normfold.operators.table import operator_of


def _weight_and_bias(reader: GraphReader, node: ir.Node) -> tuple[Weight, Array]:
    """Return W, and b of [M], zeros where there is none. M is axis 0 of W, or axis 1 of a ConvTranspose by groups."""
    weight, bias = weight_of(reader, node, 1), bias_of(reader, node, _bias_input(node))
    turned = node.op_type == "ConvTranspose"
    count = weight.shape[1] * _groups(node) if turned else weight.shape[0]
    bias = np.zeros(count) if bias is None else bias
    require(bias.shape == (count,), Reason.UNKNOWN_SHAPE, node, f"a bias of {list(bias.shape)} for {count} channels")
    return weight, bias


def _bias_input(node: ir.Node) -> int:
    return operator_of(node).bias or 2  # that of a FusedConv too


def _groups(node: ir.Node) -> int:
    groups = int(attribute(node, "group", 1))
    require(groups >= 1, Reason.PARAMETERS_MISFIT, node, f"{groups} groups")
    return groups


def conv_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(W*x + b) + t = (s*W)*x + (s*b + t). W is [M, C/group, kernel...], s and t are [M]."""
    weight, bias = _weight_and_bias(reader, node)
    scale, shift = channels(node, single_label(node, labels), weight.shape[0])
    bias = scale * bias + shift
    return _rewritten(reader, node, _scaled(weight, scale.reshape(_column(weight))), bias, along(0), by_output=True)


def conv_transpose_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Conv, with W of [C, M/group, kernel...]: output channel ``g*M/group + m`` is column m of group g."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    scale, shift = channels(node, single_label(node, labels), weight.shape[1] * groups)
    factor = _by_group(scale, groups, weight, each=weight.shape[0] // groups)
    return _rewritten(reader, node, _scaled(weight, factor), scale * bias + shift, _largest_by_column(groups))


def _scaled(weight: Weight, factor: Array) -> Weight | None:
    """Return the new weight; None where it stays as it is."""
    return None if (factor == 1).all() else weight * factor


def _rewritten(
    reader: GraphReader,
    node: ir.Node,
    weight: Weight | None,
    bias: Array,
    rows: Callable[[Weight], Array],
    *,
    by_output: bool = False,
) -> Rewrite:
    """Write the new weight, if there is one, and the new bias where it differs from the one there was.

    ``rows`` are those of the weight that were scaled; ``by_output`` says that they are the channels of the bias.
    """
    changed: dict[int, Array | Weight] = {} if weight is None else {1: weight}
    before = bias_of(reader, node, _bias_input(node))
    if not np.array_equal(np.zeros_like(bias) if before is None else before, bias):
        changed[_bias_input(node)] = bias
    return Rewrite(node, inputs=fitted(reader, node, 1, changed, rows, bias if by_output else None))


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
    """W*(s*x + t) + b = (W*s)*x + (sum of W*t + b): a shift only where no zeros come from outside."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    affine = single_label(node, labels)
    scale, shift = channels(node, affine, weight.shape[1] * groups)
    zeros = _zeros_from_outside(node, weight)
    require(affine.has_no_shift or not zeros, Reason.ZERO_PADDING, node, zeros)
    each = weight.shape[0] // groups
    if not affine.has_no_shift:
        bias = bias + (weight * _by_group(shift, groups, weight, each)).sum(tuple(range(1, weight.ndim)))
    scaled = _scaled(weight, _by_group(scale, groups, weight, each))
    return _rewritten(reader, node, scaled, bias, _largest_by_column(groups))


def _zeros_from_outside(node: ir.Node, weight: Weight) -> str:
    """Return in words what lets zeros meet the weight; "" where nothing does."""
    if node.op_type == "DeformConv":
        return "its offsets lead outside"
    mode = str(attribute(node, "auto_pad", "NOTSET"))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return f"pads {mode}" if any(size != 1 for size in weight.shape[2:]) else ""
    pads = [int(pad) for pad in attribute(node, "pads", ())]
    return f"pads {pads}" if any(pads) else ""


def conv_transpose_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Conv for a scale. A shift would meet each output position a different number of times, but for 1x1 kernels."""
    weight, bias = _weight_and_bias(reader, node)
    groups = _groups(node)
    affine = single_label(node, labels)
    scale, shift = channels(node, affine, weight.shape[0])
    pointwise = all(size == 1 for size in weight.shape[2:]) and not _moves_positions(node)
    require(affine.has_no_shift or pointwise, Reason.ZERO_PADDING, node, "not every output position meets every weight")
    by_row = _column(weight)
    if not affine.has_no_shift:
        grouped = np.asarray(weight * shift.reshape(by_row)).reshape(groups, -1, *weight.shape[1:])
        bias = bias + grouped.sum(axis=(1, *range(3, grouped.ndim))).reshape(-1)
    return _rewritten(reader, node, _scaled(weight, scale.reshape(by_row)), bias, along(0))


def _moves_positions(node: ir.Node) -> bool:
    """Return whether attributes of a ConvTranspose leave positions out, or add some that no input reaches."""
    steps = any(step != 1 for step in attribute(node, "strides", ()))
    pads = any((*attribute(node, "pads", ()), *attribute(node, "output_padding", ())))
    return steps or pads or "output_shape" in node.attributes
