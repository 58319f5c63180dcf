"""Where an affine ends: the linear operators, which take it into their constants.

Backward: the operator's output shall become ``A(output)``. Forward: the operator reads ``x`` where ``A(x)`` was meant.
All arithmetic is float64 on the stored values. A shift that has no bias to go to becomes one Add behind the operator
(``Rewrite.shift_after``). Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, Array
from normfold.edit import Rewrite, require_fits
from normfold.fold.carry import require
from normfold.graph import GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal

Absorber = Callable[[GraphReader, ir.Node, Mapping[int, Affine]], Rewrite]


def _weight(reader: GraphReader, node: ir.Node, index: int) -> Array:
    return np.asarray(reader.require_constant(node, index, Reason.DYNAMIC_WEIGHT))


def _bias(reader: GraphReader, node: ir.Node, index: int) -> Array | None:
    """The constant bias at ``index``; None where there is none."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    return _weight(reader, node, index)


def _only(node: ir.Node, labels: Mapping[int, Affine], index: int = 0) -> Affine:
    require(set(labels) == {index}, Reason.DYNAMIC_WEIGHT, node, "its weight or bias would carry the affine")
    return labels[index]


def _channels(node: ir.Node, affine: Affine, size: int) -> tuple[Array, Array]:
    """Scale and shift along axis 1, of the operator's own channel count."""
    require(
        affine.is_constant_on(a for a in range(affine.rank) if a != 1),
        Reason.AXIS_STOPS,
        node,
        "it varies on an axis other than 1",
    )
    for array in (affine.scale, affine.shift):
        require(array.shape[1] in (1, size), Reason.AXIS_STOPS, node, f"{array.shape[1]} values for {size} channels")
    return affine.vectors(1, size)


def _fitted(
    reader: GraphReader, node: ir.Node, index: int, changed: Mapping[int, Array], rows: tuple[int, ...]
) -> Mapping[int, Array]:
    """``changed`` as it is, once every array is known to fit the type of the weight at ``index``."""
    weight = node.inputs[index]
    dtype = None if weight is None else reader.dtype(weight)
    for at, array in changed.items():
        require_fits(array, dtype, node, rows if at == index else ())
    return changed


# -- convolutions ------------------------------------------------------------------------------------------------
def conv_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """s*(W*x + b) + t = (s*W)*x + (s*b + t). W is [M, C/group, kernel...], s and t are [M]."""
    weight, bias = _weight(reader, node, 1), _bias(reader, node, 2)
    scale, shift = _channels(node, _only(node, labels), weight.shape[0])
    scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return _linear(reader, node, scale, scaled, bias, scale * (0.0 if bias is None else bias) + shift, rows=(0,))


def conv_transpose_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """As Conv, with W of [C, M/group, kernel...]: output channel ``g*M/group + m`` is column m of group g."""
    weight, bias = _weight(reader, node, 1), _bias(reader, node, 2)
    groups = int(attribute(node, "group", 1))
    scale, shift = _channels(node, _only(node, labels), weight.shape[1] * groups)
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    scaled = (grouped * scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    return _linear(reader, node, scale, scaled, bias, scale * (0.0 if bias is None else bias) + shift, rows=())


def _linear(
    reader: GraphReader,
    node: ir.Node,
    scale: Array,
    weight: Array,
    bias: Array | None,
    wanted: Array,
    rows: tuple[int, ...],
) -> Rewrite:
    """New weight (where the scale is not 1) and new bias (where it differs from the one there was)."""
    changed = {} if (scale == 1).all() else {1: weight}
    before = np.zeros_like(wanted) if bias is None else bias
    if not np.array_equal(before, wanted):
        changed[2] = wanted
    return Rewrite(node, inputs=_fitted(reader, node, 1, changed, rows))


def conv_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """W*(s*x + t) + b = (W*s)*x + (sum of W*t + b): a scale at any padding, a shift only without padding."""
    weight, bias = _weight(reader, node, 1), _bias(reader, node, 2)
    groups = int(attribute(node, "group", 1))
    affine = _only(node, labels)
    scale, shift = _channels(node, affine, weight.shape[1] * groups)
    require(affine.has_no_shift or not _pads(node, weight), Reason.ZERO_PADDING, node, f"pads {_pads(node, weight)}")
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    form = (groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    moved = (grouped * shift.reshape(form)).sum(axis=tuple(range(2, grouped.ndim))).reshape(-1)
    scaled = (grouped * scale.reshape(form)).reshape(weight.shape)
    return _linear(reader, node, scale, scaled, bias, moved + (0.0 if bias is None else bias), rows=())


def _pads(node: ir.Node, weight: Array) -> list[int] | str:
    """What stands in the way of a shift: the padding, as a list or as the automatic mode; empty where there is none."""
    mode = str(attribute(node, "auto_pad", "NOTSET"))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return mode if any(size != 1 for size in weight.shape[2:]) else []
    pads = [int(pad) for pad in attribute(node, "pads", ())]
    return pads if any(pads) else []


def conv_transpose_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """As Conv for a scale. A shift would meet each output position a different number of times, but for 1x1 kernels."""
    weight, bias = _weight(reader, node, 1), _bias(reader, node, 2)
    groups = int(attribute(node, "group", 1))
    affine = _only(node, labels)
    scale, shift = _channels(node, affine, weight.shape[0])
    pointwise = all(size == 1 for size in weight.shape[2:]) and not any(attribute(node, "pads", ()))
    pointwise = (
        pointwise
        and all(step == 1 for step in attribute(node, "strides", ()))
        and "output_shape" not in node.attributes
    )
    pointwise = pointwise and not any(attribute(node, "output_padding", ()))
    require(affine.has_no_shift or pointwise, Reason.ZERO_PADDING, node, "not every output position meets every weight")
    column = (-1, *[1] * (weight.ndim - 1))
    grouped = (weight * shift.reshape(column)).reshape(groups, -1, *weight.shape[1:])
    moved = grouped.sum(axis=(1, *range(3, grouped.ndim))).reshape(-1)
    return _linear(
        reader, node, scale, weight * scale.reshape(column), bias, moved + (0.0 if bias is None else bias), rows=(0,)
    )


# -- Gemm --------------------------------------------------------------------------------------------------------
def gemm_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """s*(alpha*A*B + beta*C) + t: s goes into the constant of A (by rows) and B (by columns), C becomes s*beta*C+t."""
    affine = _only(node, labels)
    side, axis = _constant_side(reader, node)
    flipped = bool(attribute(node, "transB" if side == 1 else "transA", 0))
    other = 1 - axis
    if affine.scale.shape[other] > 1:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"it varies along axis {other} of the variable operand")
    weight = _weight(reader, node, side)
    scaled = weight * (affine.scale.T if flipped else affine.scale)
    return _gemm(reader, node, side, scaled, affine, affine.scale, affine.shift)


def _constant_side(reader: GraphReader, node: ir.Node) -> tuple[int, int]:
    """Which of A and B is the weight, and which output axis is its own: (1, 1) for B, (0, 0) for A."""
    if reader.is_constant(node.inputs[1]):
        return 1, 1
    if reader.is_constant(node.inputs[0]):
        return 0, 0
    reader.require_constant(node, 1, Reason.DYNAMIC_WEIGHT)
    raise AssertionError("require_constant() refuses what is not constant")


def _gemm(
    reader: GraphReader, node: ir.Node, side: int, weight: Array, affine: Affine, scale: Array | float, shift: Array
) -> Rewrite:
    changed: dict[int, Array] = {} if affine.has_no_scale else {side: weight}
    attributes: dict[str, int | float] = {}
    bias = _bias(reader, node, 2)
    beta = float(attribute(node, "beta", 1.0))
    before = np.zeros(()) if bias is None else beta * bias
    wanted = scale * before + shift
    if wanted.any() or bias is not None:
        wanted = wanted if bias is not None and bias.ndim == 2 else _lean(wanted)
        if bias is None or beta != 1.0 or not np.array_equal(bias, wanted):
            changed[2], attributes = wanted, {"beta": 1.0} if beta != 1.0 else {}
    return Rewrite(node, inputs=_fitted(reader, node, side, changed, ()), attributes=attributes)


def _lean(array: Array) -> Array:
    """A row [1, N] as the vector [N] that exporters write."""
    return array.reshape(-1) if array.ndim == 2 and array.shape[0] == 1 else array


def gemm_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """(s*x + t)*B = x*(s*B) + t*B along the axis that is summed; the same from the left."""
    side, _ = _constant_side(reader, node)
    affine = _only(node, labels, 1 - side)
    variable_flipped = bool(attribute(node, "transA" if side == 1 else "transB", 0))
    weight_flipped = bool(attribute(node, "transB" if side == 1 else "transA", 0))
    summed = (1 if side == 1 else 0) if not variable_flipped else (0 if side == 1 else 1)
    require(affine.is_constant_on([1 - summed]), Reason.AXIS_STOPS, node, "it varies along an axis that is not summed")
    weight = _weight(reader, node, side)
    plain = weight.T if weight_flipped else weight
    length = plain.shape[0] if side == 1 else plain.shape[1]
    scale, shift = affine.vectors(summed, length)
    alpha = float(attribute(node, "alpha", 1.0))
    if side == 1:
        scaled, moved = plain * scale[:, None], alpha * (shift @ plain)[None, :]
    else:
        scaled, moved = plain * scale[None, :], alpha * (plain @ shift)[:, None]
    return _gemm(reader, node, side, scaled.T if weight_flipped else scaled, affine, 1.0, moved)


# -- MatMul ------------------------------------------------------------------------------------------------------
def matmul_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """s*(X@W) + t: s into the columns of a right W (rows of a left one), t into one Add behind, or a Gemm's bias."""
    affine = _only(node, labels)
    side, _ = _constant_side(reader, node)
    weight = _weight(reader, node, side)
    changed: dict[int, Array] = {}
    if not affine.has_no_scale:
        changed[side] = weight * _scale_on_weight(node, affine.scale, weight, side)
    return _matmul(reader, node, side, changed, affine.shift)


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


def _matmul(reader: GraphReader, node: ir.Node, side: int, changed: dict[int, Array], shift: Array) -> Rewrite:
    _fitted(reader, node, side, changed, ())
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
    affine = _only(node, labels, 1 - side)
    weight = _weight(reader, node, side)
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
    if side == 1:
        scaled, moved = matrix * scale[:, None], shift @ matrix if affine.rank == 1 else (shift @ matrix)[..., None, :]
    else:
        scaled, moved = matrix * scale[None, :], (matrix @ shift) if affine.rank == 1 else (matrix @ shift)[..., None]
    moved = moved[..., 0] if weight.ndim == 1 and side == 1 else moved[..., 0, :] if weight.ndim == 1 else moved
    changed = {} if affine.has_no_scale else {side: scaled.reshape(weight.shape)}
    rank = len(reader.require_shape(node.outputs[0], node))
    return _matmul(
        reader, node, side, changed, np.asarray(moved).reshape((1,) * (rank - np.ndim(moved)) + np.shape(moved))
    )


# -- norms' own gamma and beta -----------------------------------------------------------------------------------
def norm_backward(axis_of: Callable[[ir.Node, int], int], *, scale_at: int = 1, shift_at: int | None = 2) -> Absorber:
    """s*(gamma*n(x) + beta) + t = (s*gamma)*n(x) + (s*beta + t), gamma and beta being vectors from ``axis_of`` on."""

    def absorb(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
        affine = _only(node, labels)
        gamma = _weight(reader, node, scale_at)
        beta = None if shift_at is None else _bias(reader, node, shift_at)
        require(shift_at is not None or affine.has_no_shift, Reason.SHIFT_STOPS, node, "it has no beta")
        first = axis_of(node, affine.rank)
        span = range(first, first + gamma.ndim)
        require(
            affine.is_constant_on(a for a in range(affine.rank) if a not in span),
            Reason.AXIS_STOPS,
            node,
            "it varies outside gamma's axes",
        )
        scale, shift = (array.reshape([array.shape[a] for a in span]) for array in (affine.scale, affine.shift))
        changed: dict[int, Array] = (
            {} if affine.has_no_scale else {scale_at: np.broadcast_to(gamma * scale, gamma.shape)}
        )
        wanted = np.broadcast_to(scale * (0.0 if beta is None else beta) + shift, gamma.shape)
        before = np.zeros_like(wanted) if beta is None else beta
        if shift_at is not None and not np.array_equal(before, wanted):
            changed[shift_at] = wanted
        return Rewrite(node, inputs=_fitted(reader, node, scale_at, changed, ()))

    return absorb


def _from_axis_attribute(node: ir.Node, rank: int) -> int:
    return int(attribute(node, "axis", -1)) % rank


def _group_norm_axis(node: ir.Node, rank: int) -> int:
    return 1


def group_norm_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """GroupNormalization has gamma and beta by channel from opset 21 on; before that by group, which cannot take it."""
    require(reader.opset >= 21, Reason.AXIS_STOPS, node, "before opset 21 its gamma is by group")
    return norm_backward(_group_norm_axis)(reader, node, labels)


Tables = dict[str, Absorber]
BACKWARD: Tables = {
    "Conv": conv_backward,
    "ConvTranspose": conv_transpose_backward,
    "Gemm": gemm_backward,
    "MatMul": matmul_backward,
    "LayerNormalization": norm_backward(_from_axis_attribute),
    "RMSNormalization": norm_backward(_from_axis_attribute, shift_at=None),
    "InstanceNormalization": norm_backward(_group_norm_axis),
    "GroupNormalization": group_norm_backward,
}
FORWARD: Tables = {
    "Conv": conv_forward,
    "ConvTranspose": conv_transpose_forward,
    "Gemm": gemm_forward,
    "MatMul": matmul_forward,
}
