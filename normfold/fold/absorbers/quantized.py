"""A linear operator whose weight comes from DequantizeLinear: a positive scale goes into the weight's own scale.

``(q - zero) * scale`` by output channel stays exact when ``scale`` is multiplied; a per-tensor scale becomes one by
channel, which opset 13 and later know. The quantized numbers themselves never change.
Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers.common import single_label
from normfold.fold.rule import Labels, require, require_varies_on
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.quantization import dequantized, is_dequantizer, on_numbers
from normfold.graph.reader import GraphReader, attribute, name_of

_PER_CHANNEL_OPSET = 13
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def dequantizer_of(reader: GraphReader, node: ir.Node) -> ir.Node | None:
    """Return the DequantizeLinear on constants that makes the weight of ``node``, or None."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    producer = None if value is None else value.producer()
    if producer is None or producer.graph is not node.graph or not is_dequantizer(reader, producer):
        return None
    return producer


def dequantizer_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """(q - zero) * scale, where q is an input or an integer result: one factor > 0 goes into the scale.

    Behind a QuantizeLinear both must keep one scale, or runtimes no longer see that they belong together.
    """
    affine = single_label(node, labels)
    maker = None if node.inputs[0] is None else node.inputs[0].producer()
    paired = maker is not None and maker.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")
    require(not paired, Reason.QUANTIZED, node, "it belongs to the QuantizeLinear before it")
    require(affine.has_no_shift, Reason.SHIFT_STOPS, node, "its zero point is an integer")
    single = affine.scale.size == 1 and bool((affine.scale > 0).all())
    require(single, Reason.QUANTIZED, node, "its scale takes one positive factor")
    scale = reader.require_constant(node, 1, Reason.QUANTIZED)
    wanted = np.asarray(scale) * float(affine.scale.reshape(()))
    value = node.inputs[1]
    require_fits(wanted, None if value is None else reader.dtype(value), node)
    return Rewrite(node, inputs={1: wanted})


def _require_alone(dequantizer: ir.Node) -> None:
    """Refuse a weight that has another reader, because it changes."""
    weight = dequantizer.outputs[0]
    alone = len(weight.uses()) == 1 and not weight.is_graph_output()
    require(alone, Reason.SEVERAL_READERS, dequantizer, "its weight is shared")


def quantized_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(DQ(W)*x + b) + t: s > 0 into the scale of DQ, s*b + t into the bias (or an Add behind a MatMul)."""
    affine = single_label(node, labels)
    dequantizer = dequantizer_of(reader, node)
    assert dequantizer is not None, "asked by absorber_for()"
    _require_alone(dequantizer)
    rank = len(reader.require_shape(dequantizer.inputs[0], dequantizer)) if dequantizer.inputs[0] is not None else 0
    require(
        node.op_type in _CONVOLUTIONS or rank == 2, Reason.QUANTIZED, node, f"a quantized weight of {rank} dimensions"
    )
    axis, channel = _axes(node, affine)
    require_varies_on(affine, [channel], node, "the weight is quantized")
    require(bool(affine.scale.all()), Reason.QUANTIZED, dequantizer, "a quantization scale must not be 0")
    size = _weight_size(reader, dequantizer, axis)
    scale, shift = affine.vectors(channel, size)
    companions = () if affine.has_no_scale else (_rescaled(reader, dequantizer, axis, scale),)
    if node.op_type == "MatMul":
        return Rewrite(node, shift_after=None if affine.has_no_shift else affine.shift, companions=companions)
    bias = _bias(reader, node, size)
    wanted = scale * bias + shift
    inputs: dict[int, Array] = {} if np.array_equal(bias, wanted) else {2: wanted}
    return Rewrite(node, inputs=inputs, companions=companions)


def quantized_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """DQ(W)*(s*x + t) + b: s into the scale of DQ by input channel, where it has one scale; DQ(W)*t into the bias."""
    affine = single_label(node, labels)
    dequantizer = dequantizer_of(reader, node)
    assert dequantizer is not None, "asked by absorber_for()"
    _require_alone(dequantizer)
    axis, channel, out = _input_axes(reader, node, affine)
    require_varies_on(affine, [channel], node, "the weight is quantized")
    require(bool(affine.scale.all()), Reason.QUANTIZED, dequantizer, "a quantization scale must not be 0")
    size = _weight_size(reader, dequantizer, axis)
    groups = int(attribute(node, "group", 1)) if axis == out else size
    scale, shift = (np.repeat(each, size // groups) for each in affine.vectors(channel, groups))
    companions = (
        ()
        if affine.has_no_scale
        else (_rescaled(reader, dequantizer, axis, scale, everywhere=scale.min() == scale.max()),)
    )
    if affine.has_no_shift:
        return Rewrite(node, companions=companions)
    padded = node.op_type == "ConvTranspose" or (
        node.op_type == "Conv"
        and (any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"))
    )
    require(not padded, Reason.ZERO_PADDING, node, f"pads {list(attribute(node, 'pads', ()))}")
    weight = dequantized(reader, dequantizer)
    form = [-1 if at == axis else 1 for at in range(weight.ndim)]
    moved = (weight * shift.reshape(form)).sum(axis=tuple(at for at in range(weight.ndim) if at != out))
    if node.op_type == "MatMul":
        return Rewrite(node, shift_after=moved.reshape((1,) * (affine.rank - 1) + (-1,)), companions=companions)
    return Rewrite(node, inputs={2: _bias(reader, node, moved.size) + moved}, companions=companions)


def _input_axes(reader: GraphReader, node: ir.Node, affine: Affine) -> tuple[int, int, int]:
    """Return the axis of the weight that is summed, that of the input which meets it, and the weight's axis of outputs.

    Depthwise, each row of the weight meets one channel of the input: both axes of the weight are the first.
    """
    if node.op_type == "ConvTranspose":
        return 0, 1, 1
    if node.op_type == "Conv":
        shape = reader.require_shape(node.inputs[1], node) if node.inputs[1] is not None else ()
        alone = int(attribute(node, "group", 1)) == 1
        require(alone or shape[1] == 1, Reason.QUANTIZED, node, "a quantized weight in groups of several channels")
        return (1, 1, 0) if alone else (0, 1, 0)
    if node.op_type == "Gemm":
        out, _ = _axes(node, affine)
        require(not attribute(node, "transA", 0), Reason.QUANTIZED, node, "transA with a quantized weight")
        return 1 - out, 1, out
    return 0, affine.rank - 1, 1


def _axes(node: ir.Node, affine: Affine) -> tuple[int, int]:
    """Return the output axis of the weight, and the channel axis of the result."""
    if node.op_type == "Conv":
        return 0, 1
    if node.op_type == "ConvTranspose":
        require(int(attribute(node, "group", 1)) == 1, Reason.QUANTIZED, node, "a quantized weight in groups")
        return 1, 1
    if node.op_type == "Gemm":
        plain = all(attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
        require(plain, Reason.QUANTIZED, node, "alpha and beta with a quantized weight")
        return (0 if attribute(node, "transB", 0) else 1), 1
    return 1, affine.rank - 1


def _weight_size(reader: GraphReader, dequantizer: ir.Node, axis: int) -> int:
    shape = reader.require_shape(dequantizer.inputs[0], dequantizer) if dequantizer.inputs[0] is not None else ()
    if axis >= len(shape) or not isinstance(shape[axis], int):
        detail = f"its weight of {list(shape)} along axis {axis}"
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(dequantizer), detail=detail)
    return int(shape[axis] or 0)


def _rescaled(
    reader: GraphReader, dequantizer: ir.Node, axis: int, scale: Array, *, everywhere: bool = False
) -> Rewrite:
    """Return the DequantizeLinear with ``scale`` along ``axis`` in its own; one factor goes ``everywhere``.

    A negative factor turns the signs of the quantized numbers of its channels, which is exact but for the lowest one.
    """
    own = np.asarray(reader.require_constant(dequantizer, 1, Reason.DYNAMIC_WEIGHT))
    rank = len(reader.shape(dequantizer.inputs[0]) or ())
    along = int(attribute(dequantizer, "axis", 1)) % rank
    axes: dict[str, int] = {}
    if everywhere and bool((scale > 0).all()):
        wanted = own * scale.flat[0]
    elif attribute(dequantizer, "block_size", 0):
        wanted = own * _by_block(dequantizer, axis, along, np.abs(scale), own.shape)
    else:
        if own.size > 1:
            require(along == axis, Reason.QUANTIZED, dequantizer, f"it is quantized along axis {along}, not {axis}")
        require(reader.opset >= _PER_CHANNEL_OPSET, Reason.QUANTIZED, dequantizer, "before opset 13 it has one scale")
        wanted, axes = own.reshape(-1) * np.abs(scale), {"axis": axis}
    scale_value = dequantizer.inputs[1]
    require_fits(wanted, None if scale_value is None else reader.dtype(scale_value), dequantizer)
    inputs: dict[int, Array] = {1: wanted}
    zero = reader.constant(dequantizer.inputs[2]) if len(dequantizer.inputs) > 2 else None
    if zero is not None and zero.size != wanted.size:
        inputs[2] = np.broadcast_to(zero.reshape(-1), wanted.shape)
    if (scale < 0).any():
        inputs[0] = _turned(reader, dequantizer, axis, np.sign(scale), zero)
    return Rewrite(dequantizer, inputs=inputs, attributes=axes)


def _by_block(dequantizer: ir.Node, axis: int, along: int, scale: Array, shape: tuple[int, ...]) -> Array:
    """Return a scale along ``axis`` of the numbers as it goes into the scales of blocks, which are ``along`` an axis.

    Channels across the blocks take any scale; those inside one block must take the same.
    """
    if axis == along:
        block = int(attribute(dequantizer, "block_size"))
        first = scale[::block]
        same = np.array_equal(np.repeat(first, block)[: scale.size], scale)
        require(same, Reason.QUANTIZED, dequantizer, f"it is quantized by blocks of {block} along the channels")
        scale = first
    return scale.reshape([-1 if at == axis else 1 for at in range(len(shape))])


def _turned(reader: GraphReader, dequantizer: ir.Node, axis: int, signs: Array, zero: Array | None) -> Array:
    """Return the quantized numbers with those of some channels reflected at their zero point: 2*zero - q."""
    numbers = np.asarray(reader.require_constant(dequantizer, 0, Reason.DYNAMIC_WEIGHT))
    form = [-1 if at == axis else 1 for at in range(numbers.ndim)]
    limits = np.iinfo(numbers.dtype) if np.issubdtype(numbers.dtype, np.integer) else None
    if limits is None:
        raise Refusal(
            Reason.QUANTIZED, name_of(dequantizer), detail="a negative scale with numbers that are no integers"
        )
    offset = np.zeros((), np.int64) if zero is None else on_numbers(dequantizer, zero, numbers.shape).astype(np.int64)
    wide = numbers.astype(np.int64)
    flipped = np.where(signs.reshape(form) < 0, 2 * offset - wide, wide)
    fits = bool((flipped >= limits.min).all() and (flipped <= limits.max).all())
    require(fits, Reason.QUANTIZED, dequantizer, "a negative scale, and the lowest number has no opposite")
    return flipped.astype(numbers.dtype)


def _bias(reader: GraphReader, node: ir.Node, size: int) -> Array:
    """Return the bias as numbers: absent, constant, or dequantized from constants itself."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(size)
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        return _as_vector(node, dequantized(reader, producer), size)
    return _as_vector(node, np.asarray(reader.require_constant(node, 2, Reason.DYNAMIC_WEIGHT)), size)


def _as_vector(node: ir.Node, bias: Array, size: int) -> Array:
    """Return the bias by output channel; a Gemm may also add different numbers to different rows."""
    by_row = bias.ndim == 2 and bias.shape[0] > 1
    require(not by_row, Reason.QUANTIZED, node, f"a bias of {list(bias.shape)} with a quantized weight")
    return np.broadcast_to(bias.reshape(-1), (size,))
