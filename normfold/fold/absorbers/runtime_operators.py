"""Operators that ONNX Runtime makes of several, in files that it or its tools wrote: fused products, Gelu with a bias.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import along, bias_of, fitted, single_label, weight_of
from normfold.fold.absorbers.convolutions import conv_backward
from normfold.fold.absorbers.matrices import gemm_backward
from normfold.fold.rule import (
    Labels,
    require,
    require_no_shift,
    require_no_sign,
    require_varies_on,
)
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute

_HOMOGENEOUS = ("", "Relu", "LeakyRelu")
_ADDEND = 3  # the input of a FusedConv that is added before its activation


def fused_conv_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*f(Conv(x)) = f(s*Conv(x)) for s > 0, where f is Relu, LeakyRelu or nothing."""
    _require_homogeneous(node, single_label(node, labels))
    return conv_backward(reader, node, labels)


def fused_gemm_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As FusedConv."""
    _require_homogeneous(node, single_label(node, labels))
    return gemm_backward(reader, node, labels)


def _require_homogeneous(node: ir.Node, affine: Affine) -> None:
    """Refuse what does not pass the activation, and a product to which another value is added before it."""
    activation = str(attribute(node, "activation", ""))
    require(activation in _HOMOGENEOUS, Reason.OPERATOR_STOPS, node, f"{node.op_type} with {activation}")
    if activation:
        require_no_shift(affine, node)
        require_no_sign(affine, node)
    alone = len(node.inputs) <= _ADDEND or node.inputs[_ADDEND] is None
    require(alone, Reason.SUM_NEEDS_ALL, node, "it adds another value")


def fused_matmul_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(alpha * A@B) + t: s into the columns of B, t into an Add behind."""
    affine, weight = single_label(node, labels), _matrix(reader, node)
    require_varies_on(affine.scale_only, [affine.rank - 1], node, "the columns are")
    columns = 0 if _is_turned(node) else 1
    changed = _times(weight, columns, affine.scale.reshape(-1))
    shift = None if affine.has_no_shift else affine.shift
    return Rewrite(node, inputs=fitted(reader, node, 1, changed, along(columns)), shift_after=shift)


def fused_matmul_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put s into the rows of B, and alpha * t@B into an Add behind: (s*x + t)@B = x@(s*B) + t@B."""
    require(not attribute(node, "transA", 0), Reason.OPERATOR_STOPS, node, "its input is transposed")
    inputs, moved = _summed(reader, node, single_label(node, labels))
    alpha = float(attribute(node, "alpha", 1.0))
    return Rewrite(node, inputs=inputs, shift_after=None if moved is None else alpha * moved)


def attention_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Take it into what makes queries, keys and values: (s*x + t)@W + b = x@(s*W) + (t@W + b)."""
    inputs, moved = _summed(reader, node, single_label(node, labels))
    bias = bias_of(reader, node, 2)
    if moved is None:
        return Rewrite(node, inputs=inputs)
    wanted = moved.reshape(-1) + (0.0 if bias is None else bias)
    return Rewrite(node, inputs={**inputs, 2: require_fits(wanted, _kind(reader, node), node)})


def biased_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """BiasGelu and FastGelu add a bias along the last axis first: f(x + t + b)."""
    affine, bias = single_label(node, labels), bias_of(reader, node, 1)
    require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, f"a scale changes {node.op_type}")
    require_varies_on(affine, [affine.rank - 1], node, "its bias is")
    size = reader.require_shape(node.outputs[0], node)[-1]
    wanted = affine.shift.reshape(-1) + (0.0 if bias is None else bias)
    wanted = np.broadcast_to(wanted, (size if isinstance(size, int) else wanted.size,))
    return Rewrite(node, inputs={1: require_fits(wanted, _kind(reader, node), node)})


def _summed(reader: GraphReader, node: ir.Node, affine: Affine) -> tuple[dict[int, Array | Weight], Array | None]:
    """Return the weight that takes the scale of the axis that is summed, and what the shift becomes behind the sum."""
    weight = _matrix(reader, node)
    require_varies_on(affine, [affine.rank - 1], node, "the sum runs")
    rows = 1 if _is_turned(node) else 0
    scale, shift = affine.vectors(affine.rank - 1, weight.shape[rows])
    changed = dict(fitted(reader, node, 1, _times(weight, rows, scale), along(rows)))
    if affine.has_no_shift:
        return changed, None
    moved = np.tensordot(shift, np.asarray(weight), (0, rows))
    return changed, moved.reshape((1,) * (affine.rank - 1) + (-1,))


def _times(weight: Weight, axis: int, vector: Array) -> dict[int, Array | Weight]:
    return {} if (vector == 1).all() else {1: weight * (vector[:, None] if axis == 0 else vector)}


def _matrix(reader: GraphReader, node: ir.Node) -> Weight:
    weight = weight_of(reader, node, 1)
    require(weight.ndim == 2, Reason.AXIS_STOPS, node, f"its weight has {weight.ndim} axes")
    return weight


def _is_turned(node: ir.Node) -> bool:
    return bool(attribute(node, "transB", 0))


def _kind(reader: GraphReader, node: ir.Node) -> ir.DataType | None:
    return reader.dtype(node.outputs[0])
