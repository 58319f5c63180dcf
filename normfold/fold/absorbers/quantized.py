"""Weights that are stored as integers: a factor goes into their scale, and the integers stay as they are.

``(q - zero) * scale`` is exact when ``scale`` is multiplied. A scale for the whole tensor becomes one by channel, which
opset 13 and later know; a factor inside a block, or across the channels of a scale, has no place.
Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, squeeze_leading
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers.common import single_label
from normfold.fold.rule import Labels, require
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite, require_fits, require_rows_fit
from normfold.graph.quantization import QUANTIZERS, limits_of, on_numbers
from normfold.graph.reader import GraphReader, attribute

_PER_CHANNEL_OPSET = 13


def factor_of(reader: GraphReader, node: ir.Node, index: int, weight: Weight) -> Affine:
    """Return by what the constant at ``index`` is multiplied to become ``weight``; Refusal of an addition."""
    before = reader.require_weight(node, index, Reason.DYNAMIC_WEIGHT)
    scale: Array = np.ones(())
    for operation, operand in weight.steps[len(before.steps) :]:
        adds = operation is np.add
        require(not (adds and operand.any()), Reason.QUANTIZED, node, "integers have no place for a shift")
        scale = scale if adds else scale * operand
    return Affine.of(scale, 0.0, weight.ndim)


@dataclass(frozen=True)
class Stored:
    """How a node holds integers: the inputs of scale and zero point, and what each scale is for.

    Scales vary along ``axis`` of the integers, one for each index or for each ``block`` of them; ``form`` is the shape
    of scales that are stored as a row.
    """

    scale: int
    zero: int
    axis: int = 1
    block: int = 0
    form: tuple[int, int] | None = None


def rescaled(
    reader: GraphReader, node: ir.Node, stored: Stored, factor: Array
) -> tuple[dict[int, npt.NDArray[Any]], int]:
    """Return scale and zero point for integers that shall stand for ``factor`` times as much, and the scale's axis."""
    require(bool(factor.all()), Reason.QUANTIZED, node, "a quantization scale must not be 0")
    own = np.asarray(reader.require_constant(node, stored.scale, Reason.QUANTIZED))
    formed = own if stored.form is None else own.reshape(stored.form)
    wanted, axis = _scaled(node, formed, factor, stored)
    wanted = wanted if wanted.size != own.size else wanted.reshape(own.shape)
    before = np.broadcast_to(np.abs(own), wanted.shape)
    value = node.inputs[stored.scale]
    dtype = reader.dtype(value)
    require_rows_fit(np.abs(wanted).reshape(-1), dtype, node, before.reshape(-1))
    zero = reader.constant(node.inputs[stored.zero]) if stored.zero < len(node.inputs) else None
    if zero is None or wanted.size == own.size:
        return {stored.scale: wanted}, axis
    return {stored.scale: wanted, stored.zero: np.broadcast_to(zero.reshape(-1), wanted.shape)}, axis


def _scaled(node: ir.Node, own: Array, factor: Array, stored: Stored) -> tuple[Array, int]:
    """Return a scale times a factor, and the axis of its numbers along which it varies."""
    varying, along, block = [axis for axis, size in enumerate(factor.shape) if size > 1], stored.axis, stored.block
    if not varying:
        return own * factor.reshape(()), along
    if block:
        return own * _by_block(node, factor, along, block), along
    if own.size == 1:
        require(len(varying) == 1, Reason.QUANTIZED, node, f"a factor that varies along axes {varying}")
        return own.reshape(-1) * factor.reshape(-1), varying[0]
    detail = f"it is quantized along axis {along}, and the factor varies along {varying}"
    require(varying == [along], Reason.QUANTIZED, node, detail)
    return own * factor.reshape(-1), along


def _by_block(node: ir.Node, factor: Array, along: int, block: int) -> Array:
    """Return a factor of the numbers as one of their blocks, each of which must lie in one of its values."""
    if factor.shape[along] == 1:
        return factor
    first = factor.take(range(0, factor.shape[along], block), axis=along)
    same = np.array_equal(on_numbers(first, factor.shape, along, block), factor)
    require(same, Reason.QUANTIZED, node, f"the factor varies inside blocks of {block} along axis {along}")
    return first


def dequantized_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Multiply the scale: s*((q - zero) * scale) = (q - zero) * (s*scale), for any integers q.

    Behind a QuantizeLinear both must keep one scale, or runtimes no longer see that they belong together; a constant
    that is quantized at every start becomes the integers that it is.
    """
    affine, numbers = single_label(node, labels), reader.constant(node.inputs[0])
    maker = None if node.inputs[0] is None else node.inputs[0].producer()
    paired = maker is not None and maker.op_type in QUANTIZERS
    require(numbers is not None or not paired, Reason.QUANTIZED, node, "it belongs to the QuantizeLinear before it")
    require(affine.has_no_shift, Reason.SHIFT_STOPS, node, "its zero point is an integer")
    stored = Stored(1, 2, int(attribute(node, "axis", 1)) % max(1, affine.rank), int(attribute(node, "block_size", 0)))
    one = affine.scale.size == 1 or reader.opset >= _PER_CHANNEL_OPSET
    require(one, Reason.QUANTIZED, node, "before opset 13 it has one scale")
    inputs, axis = rescaled(reader, node, stored, np.abs(affine.scale))
    if paired and numbers is not None:
        inputs[0] = numbers
    if not affine.scale_is_nonnegative:
        inputs[0] = _turned(reader, node, affine.scale < 0)
    return Rewrite(node, inputs=inputs, attributes={} if axis == stored.axis else {"axis": axis})


def _turned(reader: GraphReader, node: ir.Node, negative: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Return the numbers with those of negative factors reflected at their zero point: 2*zero - q."""
    numbers = reader.constant(node.inputs[0])
    zero = reader.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if numbers is None:
        raise Refusal(Reason.QUANTIZED, name_of(node), detail="a negative factor of integers made at run time")
    granularity = int(attribute(node, "axis", 1)), int(attribute(node, "block_size", 0))
    wide, offset = numbers.astype(np.float64), np.zeros(())
    offset = offset if zero is None else on_numbers(zero, numbers.shape, *granularity)
    turned = np.where(negative, 2 * offset - wide, wide)
    low, high = limits_of(ir.DataType.from_numpy(numbers.dtype))
    fits = bool((turned >= low).all() and (turned <= high).all())
    require(fits, Reason.QUANTIZED, node, "a negative scale, and the lowest number has no opposite")
    return turned.astype(numbers.dtype)


def scales_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """S * (input scale * weight scale) = input scale * (s * weight scale)."""
    affine = single_label(node, labels)
    require(bool(affine.scale.all()), Reason.QUANTIZED, node, "a quantization scale must not be 0")
    index = 0 if reader.is_constant(node.inputs[0]) else 1
    own = np.asarray(reader.require_constant(node, index, Reason.QUANTIZED))
    wanted = squeeze_leading(np.asarray(own * affine.scale), own.ndim)
    value = node.inputs[index]
    require_fits(wanted, reader.dtype(value), node)
    return Rewrite(node, inputs={index: wanted})
