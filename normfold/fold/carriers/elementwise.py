"""Carriers that act element by element: identities, casts, and positively homogeneous functions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.edit import Rewrite
from normfold.fold.carriers.passage import Labels, Passage, first, require, through
from normfold.graph import FLOATS, GraphReader, attribute
from normfold.reason import Reason


def identity(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Identity; Dropout at inference; Cast between floating types."""
    if node.op_type == "Dropout":
        training = reader.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else False
        require(training is not None and not np.any(training), Reason.TRAINING_MODE, node)
        require(not any(output.uses() for output in node.outputs[1:]), Reason.OPERATOR_STOPS, node, "its mask is read")
    return through(first(node, labels))


def positively_homogeneous(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """f(s*x) = s*f(x) for s >= 0: Relu, LeakyRelu, PRelu, Abs."""
    affine = first(node, labels)
    require(affine.has_no_shift, Reason.SHIFT_STOPS, node)
    require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    return through(affine)


def cast(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Between floating types: the affine is applied in the other type."""
    source = None if node.inputs[0] is None else reader.dtype(node.inputs[0])
    target = ir.DataType(int(attribute(node, "to"))) if "to" in node.attributes else reader.dtype(node.outputs[0])
    require(source in FLOATS and target in FLOATS, Reason.NOT_FLOATING, node, f"{source} to {target}")
    return through(first(node, labels))


def only_shape(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Shape and Size read no content, so they lack nothing."""
    return [Passage()]


def clip(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """s*clip(x, lo, hi) + t = clip(s*x + t, s*lo + t, s*hi + t), for one s > 0 and one t."""
    affine = first(node, labels)
    require(affine.scale.size == 1 and affine.shift.size == 1, Reason.AXIS_STOPS, node, "its bounds are two numbers")
    require(float(affine.scale.reshape(())) > 0, Reason.SIGN_STOPS, node)
    change = affine.inverse() if forward else affine
    changed = {name: float(change.apply(bound).reshape(())) for name, bound in _bounds(reader, node).items()}
    if "min" in node.attributes or "max" in node.attributes or reader.opset < 11:
        return [Passage({0: affine}, Rewrite(node, attributes=changed))]
    inputs = {1 if name == "min" else 2: np.asarray(bound) for name, bound in changed.items()}
    return [Passage({0: affine}, Rewrite(node, inputs=inputs))]


def _bounds(reader: GraphReader, node: ir.Node) -> dict[str, float]:
    """The bounds that there are: attributes before opset 11, inputs since."""
    bounds = {name: float(node.attributes[name].value) for name in ("min", "max") if name in node.attributes}
    for index, name in ((1, "min"), (2, "max")):
        if index < len(node.inputs) and node.inputs[index] is not None:
            bounds[name] = float(reader.require_constant(node, index, Reason.DYNAMIC_PARAMETERS).reshape(()))
    return bounds
