"""Gemm, MatMul and Einsum with a constant side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, squeeze_leading
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers.common import ROUNDS_ITS_INPUT, along, bias_of, fitted, single_label, weight_of
from normfold.fold.carriers.gemm import summed_with
from normfold.fold.einsum_equation import equation_of, on_letters
from normfold.fold.rule import Labels, require, require_constant_on, require_varies_on
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute


def gemm_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(alpha*A*B + beta*C) + t: s goes into the constant of A (by rows) and B (by columns), C becomes s*beta*C+t."""
    affine = single_label(node, labels)
    side, axis = _constant_side(reader, node)
    flipped = bool(attribute(node, "transB" if side == 1 else "transA", 0))
    other = 1 - axis
    require_constant_on(affine.scale_only, [other], node, "of the variable operand")
    scaled = weight_of(reader, node, side) * (affine.scale.T if flipped else affine.scale)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {side: scaled}
    own = other if flipped else axis
    added = affine.scale * _added(reader, node) + affine.shift
    in_sum = added.reshape(-1) if added.size == added.shape[axis] else np.zeros(())
    return _gemm(reader, node, side, changed, own, added, in_sum)


def _constant_side(reader: GraphReader, node: ir.Node) -> tuple[int, int]:
    """Which of A and B is the weight, and which output axis is its own: (1, 1) for B, (0, 0) for A."""
    if reader.is_constant(node.inputs[1]):
        return 1, 1
    if reader.is_constant(node.inputs[0]):
        return 0, 0
    reader.require_constant(node, 1, Reason.DYNAMIC_WEIGHT)
    raise AssertionError("require_constant() refuses what is not constant")


def _added(reader: GraphReader, node: ir.Node) -> Array:
    """Return ``beta * C`` of a Gemm, 0 where there is no C."""
    bias = bias_of(reader, node, 2)
    return np.zeros(()) if bias is None else float(attribute(node, "beta", 1.0)) * bias


def _gemm(
    reader: GraphReader,
    node: ir.Node,
    side: int,
    changed: dict[int, Array | Weight],
    own: int,
    added: Array,
    in_sum: Array | None = None,
) -> Rewrite:
    """Write the weight in ``changed``, ``own`` its axis that was scaled, and ``added`` in place of beta*C.

    ``in_sum`` is as for ``fitted``.
    """
    attributes: dict[str, int | float] = {}
    bias, beta = bias_of(reader, node, 2), float(attribute(node, "beta", 1.0))
    if added.any() or bias is not None:
        added = added if bias is not None and bias.ndim == 2 else squeeze_leading(added)
        if bias is None or beta != 1.0 or not np.array_equal(bias, added):
            changed[2], attributes = added, {"beta": 1.0} if beta != 1.0 else {}
    return Rewrite(node, inputs=fitted(reader, node, side, changed, along(own), in_sum), attributes=attributes)


def gemm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """(s*x + t)*B = x*(s*B) + t*B along the axis that is summed; the same from the left."""
    side, _ = _constant_side(reader, node)
    affine = single_label(node, labels, 1 - side)
    _require_whole_input(reader, node, affine)
    scaled, across, moved = summed_with(reader, node, side, affine)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {side: scaled}
    return _gemm(reader, node, side, changed, across, _added(reader, node) + moved)


def _require_whole_input(reader: GraphReader, node: ir.Node, affine: Affine) -> None:
    """Refuse to take a shift from the input of a product with integers, of which ONNX Runtime makes a MatMulNBits."""
    rounds = reader.is_dequantized(node.inputs[1]) and not attribute(node, "transB", 0)
    require(affine.has_no_shift or not rounds, Reason.QUANTIZED, node, ROUNDS_ITS_INPUT)


# -- MatMul ------------------------------------------------------------------------------------------------------
def matmul_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(X@W) + t: s into the columns of a right W (rows of a left one), t into one Add behind, or a Gemm's bias."""
    affine = single_label(node, labels)
    side, _ = _constant_side(reader, node)
    weight = weight_of(reader, node, side)
    changed: dict[int, Array | Weight] = {}
    if not affine.has_no_scale:
        scale = affine.scale
        if scale.ndim == weight.ndim - 1 > 0:
            scale = np.expand_dims(scale, -1 if side == 0 else -2)  # a vector's own axis is not in the result
        changed[side] = weight * _scale_on_weight(node, scale, weight, side)
    rows = along(-1 if side == 1 else -2) if weight.ndim > 1 else Weight.largest
    return _matmul(reader, node, side, changed, rows, affine.shift, np.zeros(()))


def _scale_on_weight(node: ir.Node, scale: Array, weight: Weight, side: int) -> Array:
    """Return the scale of the output as an array on the weight: its matrix axis, and batch axes of its own."""
    if weight.ndim == 1:
        detail = f"a scale of {list(scale.shape)}, and its weight is a vector, whose axis is summed"
        require(scale.size == 1, Reason.AXIS_STOPS, node, detail)
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
    reader: GraphReader,
    node: ir.Node,
    side: int,
    changed: dict[int, Array | Weight],
    rows: Callable[[Weight], Array],
    shift: Array,
    in_sum: Array | None = None,
) -> Rewrite:
    """Write the weight in ``changed`` and ``shift`` behind it; ``in_sum`` as for ``fitted``."""
    fitted(reader, node, side, changed, rows, in_sum)
    if not shift.any():
        return Rewrite(node, inputs=changed)
    weight = node.inputs[side]
    require_fits(shift, reader.dtype(weight), node)
    if _can_be_gemm(reader, node, side, shift):
        return Rewrite(node, inputs={**changed, 2: squeeze_leading(shift)}, operator="Gemm")
    return Rewrite(node, inputs=changed, shift_after=shift)


def _can_be_gemm(reader: GraphReader, node: ir.Node, side: int, shift: Array) -> bool:
    """Return whether a matrix product with a shift by columns is a Gemm, which is fast in float32 and float64 only."""
    shape = reader.shape(node.inputs[0])
    weight = node.inputs[1]
    if side != 1 or weight is None or shape is None or len(shape) != 2 or shift.shape[0] != 1:
        return False
    if reader.is_quantized(weight):
        return False  # runtimes execute a MatMul of integers as one operator, and no Gemm
    weight_shape = reader.shape(weight)
    return (
        weight_shape is not None
        and len(weight_shape) == 2
        and reader.dtype(weight) in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    )


def matmul_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """(s*x + t)@W = x@(s*W) + t@W along the summed axis: the last one of a left x, the one before it of a right x."""
    side, _ = _constant_side(reader, node)
    affine = single_label(node, labels, 1 - side)
    weight = weight_of(reader, node, side)
    _require_whole_input(reader, node, affine)
    summed = affine.rank - 1 if side == 1 or affine.rank == 1 else affine.rank - 2
    require_varies_on(affine, [summed], node, "the sum runs")
    across = 0 if weight.ndim == 1 else weight.ndim - 1 - side  # the axis of the weight that is summed
    scale, shift = affine.vectors(summed, weight.shape[across])
    changed: dict[int, Array | Weight] = {}
    if not affine.has_no_scale:
        changed[side] = weight * scale.reshape([-1 if axis == across else 1 for axis in range(weight.ndim)])
    rank = len(reader.require_shape(node.outputs[0], node))
    moved = np.zeros(()) if affine.has_no_shift else _moved(np.asarray(weight), shift, side, affine.rank == 1)
    return _matmul(reader, node, side, changed, along(across), moved.reshape((1,) * (rank - moved.ndim) + moved.shape))


def _moved(weight: Array, shift: Array, side: int, other_is_vector: bool) -> Array:
    """Return what a shift along the summed axis becomes behind the product; vectors lose their axis in the result."""
    matrix = weight if weight.ndim > 1 else (weight[:, None] if side == 1 else weight[None, :])
    product = shift[None, :] @ matrix if side == 1 else matrix @ shift[:, None]
    own, other = (-2, -1) if side == 1 else (-1, -2)
    gone = tuple(axis for axis, goes in ((own, other_is_vector), (other, weight.ndim == 1)) if goes)
    return np.asarray(np.squeeze(product, gone))


@dataclass(frozen=True)
class OneConstant:
    """Letters of the variable, of the constant (which is input ``side``), and of the result."""

    variable: str
    constant: str
    result: str
    side: int


def _one_constant(reader: GraphReader, node: ir.Node) -> OneConstant:
    whole = equation_of(reader, node)
    side = 1 if reader.is_constant(node.inputs[1]) else 0
    return OneConstant(whole.operands[1 - side], whole.operands[side], whole.result, side)


def einsum_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put the scale into the constant along the letters it shares with the result; the shift becomes an Add."""
    affine, equation = single_label(node, labels), _one_constant(reader, node)
    weight = weight_of(reader, node, equation.side)
    scale = on_letters(node, affine.scale, equation.result, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: _scaled(node, weight, scale)}
    shift = None if affine.has_no_shift else affine.shift
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def _scaled(node: ir.Node, weight: Weight, scale: Array) -> Weight:
    fits = all(size in (1, own) for size, own in zip(scale.shape, weight.shape, strict=True))
    detail = f"a scale of {list(scale.shape)} on a weight of {list(weight.shape)}"
    require(fits, Reason.AXIS_STOPS, node, detail)
    return weight * scale


def einsum_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put the scale into the constant along the letters it shares with the variable; the shift becomes an Add."""
    equation = _one_constant(reader, node)
    affine = single_label(node, labels, 1 - equation.side)
    weight = weight_of(reader, node, equation.side)
    scale = on_letters(node, affine.scale, equation.variable, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: _scaled(node, weight, scale)}
    shift = None if affine.has_no_shift else _moved_by_letters(node, affine.shift, weight, equation)
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def _moved_by_letters(node: ir.Node, shift: Array, weight: Weight, equation: OneConstant) -> Array:
    """Get what the shift becomes behind the sum: it is spread over the summed letters, whose sizes the weight knows."""
    summed = [letter for letter in equation.variable if letter not in equation.result]
    for letter in summed:
        if letter not in equation.constant:
            detail = f"it sums axis {letter}, which the weight does not have"
            raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=detail)
    on_weight = np.broadcast_to(on_letters(node, shift, equation.variable, equation.constant), weight.shape)
    kept = "".join(letter for letter in equation.result if letter in equation.constant)
    moved = np.einsum(f"{equation.constant},{equation.constant}->{kept}", np.asarray(weight), on_weight)
    return on_letters(node, moved, kept, equation.result)
