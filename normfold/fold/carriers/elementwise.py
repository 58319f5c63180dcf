"""Carriers that act element by element: casts, and positively homogeneous functions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, aligned, compact, squeeze_leading
from normfold.findings.reason import Reason
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    one_scale,
    propagate,
    require,
    require_attributes_fit,
    require_constant_on,
    require_no_shift,
    require_no_sign,
)
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute
from normfold.graph.training import drops_nothing, is_float_cast

_LEAST_SLOPE = 1e-3  # the inverse of a smaller one would cost range
_SLOPES_BROADCAST = 9
_INFINITE = 3.38e38  # exporters write the largest float of a type for no bound, or 3.4e38


def dropout(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Dropout at inference, whose mask is an output of the graph at most."""
    require(drops_nothing(reader, node), Reason.TRAINING_MODE, node, "Dropout may drop values at run time")
    require(not any(output.uses() for output in node.outputs[1:]), Reason.OPERATOR_STOPS, node, "its mask is read")
    return propagate(data_label(node, labels))


def positively_homogeneous(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """f(s*x) = s*f(x) for s >= 0: Relu."""
    affine = data_label(node, labels)
    require_no_shift(affine, node)
    require_no_sign(affine, node)
    return propagate(affine)


def cast(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Between floating types: the affine is applied in the other type."""
    before, after = (reader.dtype(value) for value in (node.inputs[0], node.outputs[0]))
    require(is_float_cast(reader, node), Reason.NOT_FLOATING, node, f"{before} to {after}")
    return propagate(data_label(node, labels))


def only_shape(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Shape and Size read no content, so they lack nothing."""
    return [Propagation()]


def leaky(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """LeakyRelu and PRelu of slope a > 0 pass a scale s < 0 too: s*f(x; a) = f(s*a*x; 1/a).

    A LeakyRelu becomes a PRelu, whose slopes may vary with the sign. Forward, f(s*x; a) = s*a*f(x; 1/a).
    """
    affine = data_label(node, labels)
    require_no_shift(affine, node)
    if affine.scale_is_nonnegative:
        return propagate(affine)
    slope = _slope(reader, node, affine.rank)
    turned = np.broadcast_to(affine.scale < 0, np.broadcast_shapes(affine.scale.shape, slope.shape))
    steep = np.broadcast_to(slope, turned.shape)
    require(bool((steep[turned] >= _LEAST_SLOPE).all()), Reason.SIGN_STOPS, node, "its slope has no inverse")
    scale = compact(np.where(turned, affine.scale * slope, affine.scale))
    slopes = compact(np.divide(1.0, steep, out=steep.copy(), where=turned))
    through_it = Affine(scale, affine.shift)
    require(reader.opset >= _SLOPES_BROADCAST, Reason.SIGN_STOPS, node, f"slopes by channel in opset {reader.opset}")
    change = Rewrite(node, inputs={1: squeeze_leading(slopes)}, operator="PRelu", drops=("alpha",))
    return [Propagation({0: through_it}, change)]


def _slope(reader: GraphReader, node: ir.Node, rank: int) -> Array:
    if node.op_type == "LeakyRelu":
        return np.full((1,) * rank, float(attribute(node, "alpha", 0.01)))
    return aligned(reader.require_constant(node, 1, Reason.SIGN_STOPS), rank)


def absolute(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """|s*x| = |s|*|x|: backward for s >= 0, forward for every s."""
    affine = data_label(node, labels)
    require_no_shift(affine, node)
    if not forward:
        require_no_sign(affine, node)
    return propagate(Affine(np.abs(affine.scale), affine.shift))


def threshold(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """ThresholdedRelu, Shrink and Celu scale with their numbers: s*f(x; a) = f(s*x; s*a) for one s > 0."""
    affine = data_label(node, labels)
    scale = one_scale(affine, node, "its threshold")
    require(scale > 0, Reason.SIGN_STOPS, node, f"{node.op_type}; the scale is {scale:.3g}")
    known = {"ThresholdedRelu": {"alpha": 1.0}, "Shrink": {"lambd": 0.5, "bias": 0.0}, "Celu": {"alpha": 1.0}}[
        node.op_type
    ]
    factor = 1.0 / scale if forward else scale
    changed = {name: float(attribute(node, name, rest)) * factor for name, rest in known.items()}
    require_attributes_fit(reader, node, changed)
    return [Propagation({0: affine}, Rewrite(node, attributes=changed))]


def local_response(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """LRN(s*x; alpha) = s * LRN(x; s^2*alpha) for one s: x / (k + alpha/n * sum of x^2)^beta."""
    affine = data_label(node, labels)
    scale = one_scale(affine, node, "its alpha")
    require(scale != 0, Reason.SIGN_STOPS, node, "the scale is 0")
    changed = {"alpha": float(attribute(node, "alpha", 1e-4)) * (scale**2 if forward else scale**-2)}
    require_attributes_fit(reader, node, changed)
    return [Propagation({0: affine}, Rewrite(node, attributes=changed))]


def triangle(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Trilu sets elements to zero and leaves the others: any scale passes."""
    affine = data_label(node, labels)
    require_no_shift(affine, node, "the other triangle is zero")
    return propagate(affine)


def running_sum(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """CumSum takes a scale that is the same along its axis."""
    affine = data_label(node, labels)
    require_no_shift(affine, node, "it would be counted once more at each step")
    axis = int(reader.require_number(node, 1, Reason.DYNAMIC_PARAMETERS))
    require_constant_on(affine, [axis], node, "summed")
    return propagate(affine)


def clip(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Pass one s and one t: s*clip(x, lo, hi) + t = clip of s*x + t; the bounds change places at s < 0.

    Bounds of 0 and infinity stay for any scale >= 0, which may then vary.
    """
    affine = data_label(node, labels)
    bounds = bounds_of(reader, node)
    if (
        affine.has_no_shift
        and affine.scale_is_nonnegative
        and all(n == 0 or abs(n) >= _INFINITE for n in bounds.values())
    ):
        return propagate(affine)
    detail = f"its bounds are two numbers, and the affine varies along axes {list(affine.varying_axes)}"
    require(not affine.varying_axes, Reason.AXIS_STOPS, node, detail)
    scale = float(affine.scale.reshape(()))
    require(scale != 0, Reason.SIGN_STOPS, node, "the scale is 0")
    change = affine.inverse() if forward else affine
    changed = {name: float(change.apply(bound).reshape(())) for name, bound in bounds.items() if abs(bound) < _INFINITE}
    if scale < 0:
        require(len(changed) == 2, Reason.SIGN_STOPS, node, f"{len(changed)} of 2 bounds; the scale is {scale:.3g}")
        require(bounds["min"] <= bounds["max"], Reason.SIGN_STOPS, node, "its upper bound is the lower one")
        changed = {"min": changed["max"], "max": changed["min"]}
    if "min" in node.attributes or "max" in node.attributes or reader.opset < 11:
        require_attributes_fit(reader, node, changed)
        return [Propagation({0: affine}, Rewrite(node, attributes=changed))]
    for bound in changed.values():
        require_fits(np.asarray(bound), reader.dtype(node.outputs[0]), node)
    inputs = {1 if name == "min" else 2: np.asarray(bound) for name, bound in changed.items()}
    return [Propagation({0: affine}, Rewrite(node, inputs=inputs))]


def bounds_of(reader: GraphReader, node: ir.Node) -> dict[str, float]:
    """Return the bounds that a Clip has: attributes before opset 11, inputs since."""
    bounds = {name: float(node.attributes[name].value) for name in ("min", "max") if name in node.attributes}
    for index, name in ((1, "min"), (2, "max")):
        if index < len(node.inputs) and node.inputs[index] is not None:
            bounds[name] = reader.require_number(node, index, Reason.DYNAMIC_PARAMETERS)
    return bounds
