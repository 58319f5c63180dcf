"""Matrix products of ONNX Runtime whose weight is stored as integers: DynamicQuantizeMatMul, MatMulNBits and others.

``A @ ((q - zero) * scale) + bias``: a factor of the columns goes into ``scale``, a shift into ``bias``; the integers
stay. Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import ROUNDS_ITS_INPUT, bias_of, single_label
from normfold.fold.absorbers.quantized import Stored, rescaled
from normfold.fold.rule import Labels, require, require_varies_on
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute


@dataclass(frozen=True)
class Product:
    """The inputs of an operator that hold scale and zero point of the integers of its matrix, and the bias."""

    scale: int
    zero: int
    bias: int | None


PRODUCTS = {
    "DynamicQuantizeMatMul": Product(2, 3, 4),
    "MatMulIntegerToFloat": Product(3, 5, 6),
    "MatMulNBits": Product(2, 3, 5),
    "QGemm": Product(4, 5, None),
}
_INT8 = 4  # the accuracy_level of a MatMulNBits at which it rounds what it multiplies to 8 bits
_ORDER = 4  # the input of a MatMulNBits that says which rows are in which block


def product_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(A@W + b) + t = A@(W*s) + (s*b + t), with s and t by columns of W."""
    affine, product = single_label(node, labels), PRODUCTS[node.op_type]
    require_varies_on(affine, [affine.rank - 1], node, "the columns are")
    scale, shift = affine.scale.reshape(-1), affine.shift.reshape(-1)
    inputs: dict[int, Array] = {}
    if not affine.has_no_scale:
        inputs, _ = rescaled(
            reader, node, _stored(node, product), scale[:, None] if _is_in_blocks(node) else scale[None]
        )
    if product.bias is None:
        return Rewrite(node, inputs=inputs, shift_after=None if affine.has_no_shift else affine.shift)
    return Rewrite(node, inputs=inputs | _bias(reader, node, product.bias, scale, shift))


def blocks_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """(s*x + t)@W = x@(W*s) + t@W, where s is the same inside each block of the scales of W."""
    affine, product = single_label(node, labels), PRODUCTS[node.op_type]
    require_varies_on(affine, [affine.rank - 1], node, "the sum runs")
    ordered = len(node.inputs) > _ORDER and node.inputs[_ORDER] is not None
    require(not ordered, Reason.QUANTIZED, node, "the rows of its blocks are in an order of their own")
    scale, shift = affine.vectors(affine.rank - 1, int(attribute(node, "K")))
    inputs: dict[int, Array] = {}
    if not affine.has_no_scale:
        inputs, _ = rescaled(reader, node, _stored(node, product), scale[None])
    rounds = attribute(node, "accuracy_level", 0) == _INT8
    require(affine.has_no_shift or not rounds, Reason.QUANTIZED, node, ROUNDS_ITS_INPUT)
    if affine.has_no_shift or product.bias is None:
        return Rewrite(node, inputs=inputs)
    moved = _matrix_of_blocks(reader, node) @ shift
    return Rewrite(node, inputs=inputs | _bias(reader, node, product.bias, np.ones(1), moved))


def _is_in_blocks(node: ir.Node) -> bool:
    """Return whether the integers lie as [columns, rows], in blocks of rows."""
    return node.op_type == "MatMulNBits"


def _stored(node: ir.Node, product: Product) -> Stored:
    if not _is_in_blocks(node):
        return Stored(product.scale, product.zero)
    return Stored(product.scale, product.zero, 1, int(attribute(node, "block_size")), (int(attribute(node, "N")), -1))


def _bias(reader: GraphReader, node: ir.Node, index: int, scale: Array, shift: Array) -> dict[int, Array]:
    """Return the bias at ``index`` after scale and shift, one number for each column, where that is another."""
    bias = bias_of(reader, node, index)
    before = np.zeros(1) if bias is None else bias.reshape(-1)
    wanted = scale * before + shift
    if np.array_equal(np.broadcast_to(before, wanted.shape), wanted):
        return {}
    columns = reader.require_shape(node.outputs[0], node)[-1]
    wanted = np.broadcast_to(wanted, (columns if isinstance(columns, int) else wanted.size,))
    scales = node.inputs[PRODUCTS[node.op_type].scale]
    return {index: require_fits(wanted, reader.dtype(scales), node)}


def _matrix_of_blocks(reader: GraphReader, node: ir.Node) -> Array:
    """Return the transposed matrix of a MatMulNBits, [N, K]."""
    columns, rows, block, bits = (int(attribute(node, name)) for name in ("N", "K", "block_size", "bits"))
    packed, scale = (np.asarray(reader.require_constant(node, index, Reason.QUANTIZED)) for index in (1, 2))
    numbers = _unpacked(packed.reshape(columns, -1), bits).reshape(columns, -1, block)
    stored = reader.constant(node.inputs[3]) if len(node.inputs) > 3 else None
    zero: Array = np.full((1, 1), 2.0 ** (bits - 1))
    if stored is not None and stored.dtype == np.uint8:
        zero = _unpacked(stored.reshape(columns, -1), bits)[:, : numbers.shape[1]]
    elif stored is not None:
        zero = stored.reshape(columns, -1)
    whole: Array = (numbers - zero[..., None]) * scale.reshape(columns, -1)[..., None]
    return whole.reshape(columns, -1)[:, :rows]


def _unpacked(packed: npt.NDArray[np.generic], bits: int) -> Array:
    """Return the numbers that rows of bytes hold, the lowest bits first."""
    digits = np.unpackbits(packed.astype(np.uint8), axis=1, bitorder="little").reshape(packed.shape[0], -1, bits)
    return np.asarray(digits @ 2.0 ** np.arange(bits))
