"""Gemm and MatMul with a constant side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, Array
from normfold.edit import Rewrite, require_fits
from normfold.fold.absorbers.common import bias_of, by_axis, fitted, only, weight_of
from normfold.fold.carriers.passage import require
from normfold.graph import GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal


def gemm_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """s*(alpha*A*B + beta*C) + t: s goes into the constant of A (by rows) and B (by columns), C becomes s*beta*C+t."""
    affine = only(node, labels)
    side, axis = _constant_side(reader, node)
    flipped = bool(attribute(node, "transB" if side == 1 else "transA", 0))
    other = 1 - axis
    if affine.scale.shape[other] > 1:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"it varies along axis {other} of the variable operand")
    weight = weight_of(reader, node, side)
    scaled = weight * (affine.scale.T if flipped else affine.scale)
    rows = by_axis(scaled, other if flipped else axis)
    return _gemm(reader, node, side, scaled, rows, affine, affine.scale, affine.shift)


def _constant_side(reader: GraphReader, node: ir.Node) -> tuple[int, int]:
    """Which of A and B is the weight, and which output axis is its own: (1, 1) for B, (0, 0) for A."""
    if reader.is_constant(node.inputs[1]):
        return 1, 1
    if reader.is_constant(node.inputs[0]):
        return 0, 0
    reader.require_constant(node, 1, Reason.DYNAMIC_WEIGHT)
    raise AssertionError("require_constant() refuses what is not constant")


def _gemm(
    reader: GraphReader,
    node: ir.Node,
    side: int,
    weight: Array,
    rows: Array,
    affine: Affine,
    scale: Array | float,
    shift: Array,
) -> Rewrite:
    changed: dict[int, Array] = {} if affine.has_no_scale else {side: weight}
    attributes: dict[str, int | float] = {}
    bias = bias_of(reader, node, 2)
    beta = float(attribute(node, "beta", 1.0))
    before = np.zeros(()) if bias is None else beta * bias
    wanted = scale * before + shift
    if wanted.any() or bias is not None:
        wanted = wanted if bias is not None and bias.ndim == 2 else _lean(wanted)
        if bias is None or beta != 1.0 or not np.array_equal(bias, wanted):
            changed[2], attributes = wanted, {"beta": 1.0} if beta != 1.0 else {}
    return Rewrite(node, inputs=fitted(reader, node, side, changed, rows), attributes=attributes)


def _lean(array: Array) -> Array:
    """A row [1, N] as the vector [N] that exporters write."""
    return array.reshape(-1) if array.ndim == 2 and array.shape[0] == 1 else array


def gemm_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """(s*x + t)*B = x*(s*B) + t*B along the axis that is summed; the same from the left."""
    side, _ = _constant_side(reader, node)
    affine = only(node, labels, 1 - side)
    variable_flipped = bool(attribute(node, "transA" if side == 1 else "transB", 0))
    weight_flipped = bool(attribute(node, "transB" if side == 1 else "transA", 0))
    summed = (1 if side == 1 else 0) if not variable_flipped else (0 if side == 1 else 1)
    require(affine.is_constant_on([1 - summed]), Reason.AXIS_STOPS, node, "it varies along an axis that is not summed")
    weight = weight_of(reader, node, side)
    plain = weight.T if weight_flipped else weight
    length = plain.shape[0] if side == 1 else plain.shape[1]
    scale, shift = affine.vectors(summed, length)
    alpha = float(attribute(node, "alpha", 1.0))
    if side == 1:
        scaled, moved = plain * scale[:, None], alpha * (shift @ plain)[None, :]
    else:
        scaled, moved = plain * scale[None, :], alpha * (plain @ shift)[:, None]
    rows = by_axis(scaled, 0 if side == 1 else 1)
    return _gemm(reader, node, side, scaled.T if weight_flipped else scaled, rows, affine, 1.0, moved)


# -- MatMul ------------------------------------------------------------------------------------------------------
def matmul_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """s*(X@W) + t: s into the columns of a right W (rows of a left one), t into one Add behind, or a Gemm's bias."""
    affine = only(node, labels)
    side, _ = _constant_side(reader, node)
    weight = weight_of(reader, node, side)
    changed: dict[int, Array] = {}
    if not affine.has_no_scale:
        scale = affine.scale
        if scale.ndim == weight.ndim - 1 > 0:
            scale = np.expand_dims(scale, -1 if side == 0 else -2)  # a vector's own axis is not in the result
        changed[side] = weight * _scale_on_weight(node, scale, weight, side)
    rows = by_axis(changed[side], -1 if side == 1 else -2) if changed and weight.ndim > 1 else None
    return _matmul(reader, node, side, changed, rows, affine.shift)


def _scale_on_weight(node: ir.Node, scale: Array, weight: Array, side: int) -> Array:
    """The output's scale as an array on the weight: its own matrix axis, and batch axes that the weight has itself."""
    if weight.ndim == 1:
        require(scale.size == 1, Reason.AXIS_STOPS, node, "its weight is a vector, so the axis is summed")
        return scale.reshape(())
    variable = scale.ndim - 1 if side == 0 else scale.ndim - 2
    for axis, size in enumerate(scale.shape):
        at = axis - scale.ndim + weight.ndim
        own = weight.shape[at] if at >= 0 else 1
        fits = size == 1 or (axis != variable and own == size)
        require(fits, Reason.AXIS_STOPS, node, f"it varies along axis {axis}, which is not the weight's")
    lead = scale.ndim - weight.ndim
    return scale.reshape(scale.shape[lead:]) if lead >= 0 else scale


def _matmul(
    reader: GraphReader, node: ir.Node, side: int, changed: dict[int, Array], rows: Array | None, shift: Array
) -> Rewrite:
    fitted(reader, node, side, changed, rows)
    if not shift.any():
        return Rewrite(node, inputs=changed)
    if _can_be_gemm(reader, node, side, shift):
        return Rewrite(node, inputs={**changed, 2: _lean(shift)}, operator="Gemm")
    weight = node.inputs[side]
    require_fits(shift, None if weight is None else reader.dtype(weight), node)
    return Rewrite(node, inputs=changed, shift_after=shift)


def _can_be_gemm(reader: GraphReader, node: ir.Node, side: int, shift: Array) -> bool:
    """A plain matrix product with a shift by columns is a Gemm (fast ones exist in float32 and float64 only)."""
    shape = reader.shape(node.inputs[0])
    weight = node.inputs[1]
    if side != 1 or weight is None or shape is None or len(shape) != 2 or shift.shape[0] != 1:
        return False
    weight_shape = reader.shape(weight)
    return (
        weight_shape is not None
        and len(weight_shape) == 2
        and reader.dtype(weight) in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    )


def matmul_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """(s*x + t)@W = x@(s*W) + t@W along the summed axis: the last one of a left x, the one before it of a right x."""
    side, _ = _constant_side(reader, node)
    affine = only(node, labels, 1 - side)
    weight = weight_of(reader, node, side)
    summed = affine.rank - 1 if side == 1 or affine.rank == 1 else affine.rank - 2
    require(
        affine.is_constant_on(a for a in range(affine.rank) if a != summed),
        Reason.AXIS_STOPS,
        node,
        "it varies along an axis that is not summed",
    )
    matrix = weight if weight.ndim > 1 else (weight[:, None] if side == 1 else weight[None, :])
    length = matrix.shape[-2] if side == 1 else matrix.shape[-1]
    scale, shift = affine.vectors(summed, length)
    scaled = matrix * (scale[:, None] if side == 1 else scale[None, :])
    # As a product of matrices, in which the vector that is spread over the variable's own axis has size 1; what is a
    # vector in the model loses its axis again.
    moved = shift[None, :] @ matrix if side == 1 else matrix @ shift[:, None]
    own, other = (-2, -1) if side == 1 else (-1, -2)
    gone = [axis for axis, goes in ((own, affine.rank == 1), (other, weight.ndim == 1)) if goes]
    moved = np.squeeze(moved, tuple(gone))
    changed = {} if affine.has_no_scale else {side: scaled.reshape(weight.shape)}
    rank = len(reader.require_shape(node.outputs[0], node))
    rows = by_axis(scaled, -2 if side == 1 else -1)
    return _matmul(
        reader, node, side, changed, rows, np.asarray(moved).reshape((1,) * (rank - np.ndim(moved)) + np.shape(moved))
    )
