"""Operators that do not see an affine, or see it in their attributes: Softmax, ArgMax, Sign, HardSigmoid.

Each takes it by ignoring it, under the condition in its docstring. Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import require_room_for_squares, single_label
from normfold.fold.rule import (
    Labels,
    how_many,
    one_scale,
    require,
    require_attributes_fit,
    require_constant_on,
    require_no_shift,
)
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute

_SELU_GAMMA = 1.05070102214813232421875
_ONE_AXIS = 13  # the opset since which Softmax takes one axis, and not that and all behind it


def softmax_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """softmax(x + t) = softmax(x) where t is the same along the axis; LogSoftmax too."""
    affine = single_label(node, labels)
    _require_equal(node, affine, _softmax_axes(reader, node, affine.rank))
    require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, f"a scale changes {node.op_type}")
    return Rewrite(node)


def _softmax_axes(reader: GraphReader, node: ir.Node, rank: int) -> Sequence[int]:
    if reader.opset >= _ONE_AXIS:
        return [int(attribute(node, "axis", -1)) % rank]
    return range(int(attribute(node, "axis", 1)) % rank, rank)


def order_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """ArgMax and ArgMin see the order only, which s*x + t keeps for s > 0 where both are the same along the axis."""
    affine = single_label(node, labels)
    _require_equal(node, affine, [int(attribute(node, "axis", 0))])
    _require_positive(node, affine)
    return Rewrite(node)


def first_of_largest_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Hardmax marks the first of the largest along the axes of a Softmax, which s*x + t leaves so for s > 0."""
    affine = single_label(node, labels)
    _require_equal(node, affine, _softmax_axes(reader, node, affine.rank))
    _require_positive(node, affine)
    return Rewrite(node)


def direction_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """LpNormalization, and the Normalizer of machine learning (ai.onnx.ml): x/|x| does not see s > 0."""
    affine = single_label(node, labels)
    require_no_shift(affine, node, "a shift changes the norm")
    _require_equal(node, affine, [1 if node.op_type == "Normalizer" else int(attribute(node, "axis", -1))])
    _require_positive(node, affine)
    require_room_for_squares(reader, node, float(affine.scale.min()))
    return Rewrite(node)


def sign_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """sign(s*x) = sign(x) for s > 0."""
    affine = single_label(node, labels)
    require_no_shift(affine, node)
    _require_positive(node, affine)
    return Rewrite(node)


def mean_variance_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """MeanVarianceNormalization subtracts a shift again; a scale is seen by its epsilon."""
    affine = single_label(node, labels)
    _require_equal(node, affine, [int(axis) for axis in attribute(node, "axes", (0, 2, 3))])
    require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, "its epsilon sees a scale")
    return Rewrite(node)


def selu_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put one s > 0 into gamma: s * gamma * f(x)."""
    affine = single_label(node, labels)
    scale = one_scale(affine, node, "gamma")
    _require_positive(node, affine)
    changed = {"gamma": float(attribute(node, "gamma", _SELU_GAMMA)) * scale}
    require_attributes_fit(reader, node, changed)
    return Rewrite(node, attributes=changed)


def hard_sigmoid_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """clip(alpha*(s*x + t) + beta, 0, 1): alpha*s and alpha*t + beta, for one s and one t."""
    affine = single_label(node, labels)
    single = affine.scale.size == 1 and affine.shift.size == 1
    require(single, Reason.AXIS_STOPS, node, f"alpha and beta are two numbers, and it varies along {_along(affine)}")
    alpha, beta = float(attribute(node, "alpha", 0.2)), float(attribute(node, "beta", 0.5))
    scale, shift = float(affine.scale.reshape(())), float(affine.shift.reshape(()))
    changed = {"alpha": alpha * scale, "beta": alpha * shift + beta}
    require_attributes_fit(reader, node, changed)
    return Rewrite(node, attributes=changed)


def _along(affine: Affine) -> str:
    return ", ".join(f"axis {axis}" for axis in affine.varying_axes)


def _require_equal(node: ir.Node, affine: Affine, axes: Sequence[int]) -> None:
    require_constant_on(affine, axes, node, "compared")


def _require_positive(node: ir.Node, affine: Affine) -> None:
    detail = f"{node.op_type}; {how_many(affine.scale <= 0)} are not positive"
    require(bool((affine.scale > 0).all()), Reason.SIGN_STOPS, node, detail)
