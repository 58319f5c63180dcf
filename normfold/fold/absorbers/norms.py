"""The gamma and beta of a norm that follows its own statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, squeeze_leading
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import (
    Absorber,
    bias_of,
    fitted,
    require_room_for_squares,
    single_label,
    weight_of,
)
from normfold.fold.rule import (
    Labels,
    how_many,
    require,
    require_constant_on,
    require_no_shift,
    require_varies_on,
)
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute, is_read
from normfold.graph.training import is_training

# Norms over the last axes: the inputs that hold gamma and beta, None where they have no beta.
GAMMA_AND_BETA: dict[str, tuple[int, int | None]] = {
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1, None),
    "SimplifiedLayerNormalization": (1, None),
    "EmbedLayerNormalization": (5, 6),
    "SkipLayerNormalization": (2, 3),
    "SkipSimplifiedLayerNormalization": (2, None),
}
_LEAST_EPSILON = 1e-37  # a little above the smallest normal number of float32


def norm_backward(span_of: Callable[[ir.Node, int], range], scale_at: int = 1, shift_at: int | None = 2) -> Absorber:
    """s*(gamma*n(x) + beta) + t = (s*gamma)*n(x) + (s*beta + t); gamma and beta broadcast to the axes ``span_of``."""

    def absorb(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
        affine = single_label(node, labels)
        gamma = np.asarray(weight_of(reader, node, scale_at))
        beta = None if shift_at is None else bias_of(reader, node, shift_at)
        require(shift_at is not None or affine.has_no_shift, Reason.SHIFT_STOPS, node, f"{node.op_type} has no beta")
        span = span_of(node, affine.rank)
        require_varies_on(affine, span, node, "gamma varies")
        scale, shift = (array.reshape([array.shape[a] for a in span]) for array in (affine.scale, affine.shift))
        before = np.zeros(()) if beta is None else beta
        wanted = scale * before + shift
        changed: dict[int, Array] = {} if affine.has_no_scale else {scale_at: _of_rank(gamma * scale, gamma)}
        if shift_at is not None and not np.array_equal(np.broadcast_to(before, wanted.shape), wanted):
            changed[shift_at] = _of_rank(wanted, gamma if beta is None else beta)
        return Rewrite(node, inputs=fitted(reader, node, scale_at, changed))

    return absorb


def _of_rank(array: Array, like: Array) -> Array:
    """At least of the shape of ``like``, and of no higher rank where leading axes of size 1 can go."""
    array = np.broadcast_to(array, np.broadcast_shapes(array.shape, like.shape))
    return squeeze_leading(array, like.ndim)


def _last_axes(node: ir.Node, rank: int) -> range:
    return range(int(attribute(node, "axis", -1)) % rank, rank)


def _channel_axis(node: ir.Node, rank: int) -> range:
    return range(1, 2)


def last_axes_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put it into gamma and beta of a norm over the last axes."""
    return norm_backward(_last_axes, *GAMMA_AND_BETA[node.op_type])(reader, node, labels)


instance_norm_backward = norm_backward(_channel_axis)


def group_norm_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """GroupNormalization has gamma and beta by channel from opset 21 on; before that by group, which cannot take it."""
    require(reader.opset >= 21, Reason.AXIS_STOPS, node, "before opset 21 its gamma is by group")
    return norm_backward(_channel_axis)(reader, node, labels)


def _require_training(node: ir.Node) -> None:
    """With its own statistics it is an affine, which is another matter."""
    require(is_training(node), Reason.OPERATOR_STOPS, node)


def batch_norm_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """In training mode it is a norm like others, of the statistics of its batch; gamma and beta are by channel."""
    _require_training(node)
    return norm_backward(_channel_axis)(reader, node, labels)


# -- what a norm does not see ------------------------------------------------------------------------------------
def layer_norm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """LayerNormalization(s*x + t) = LayerNormalization(x) with eps/s^2, for s and t uniform on the normalized axes."""
    affine = single_label(node, labels)
    axes = _last_axes(node, affine.rank)
    require_constant_on(affine, axes, node, "normalized")
    _require_one(node, affine.scale)
    return _with_scaled_epsilon(reader, node, affine)


def rms_norm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """RMSNormalization(s*x) = RMSNormalization(x) with eps/s^2; a shift changes the mean square."""
    affine = single_label(node, labels)
    require_no_shift(affine, node, "it changes the mean square")
    return layer_norm_forward(reader, node, labels)


def instance_norm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Drop a shift by channel, which InstanceNormalization subtracts, and a uniform scale but for eps/s^2."""
    affine = single_label(node, labels)
    require_constant_on(affine, range(2, affine.rank), node, "normalized")
    return _with_scaled_epsilon(reader, node, affine)


def group_norm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As InstanceNormalization, where scale and shift are the same for all channels of a group."""
    affine = single_label(node, labels)
    require_constant_on(affine, range(2, affine.rank), node, "normalized")
    groups = int(attribute(node, "num_groups"))
    for array in (affine.scale, affine.shift):
        rows = array.reshape(groups, -1) if array.size > 1 else array.reshape(1, -1)
        inside = (rows != rows[:, :1]).any(axis=1)
        require(not inside.any(), Reason.AXIS_STOPS, node, f"it varies along axis 1 inside {how_many(inside)} groups")
    return _with_scaled_epsilon(reader, node, affine)


def batch_norm_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As InstanceNormalization in training mode, where it normalizes the batch as well; its statistics are not read."""
    _require_training(node)
    affine = single_label(node, labels)
    require_constant_on(affine, (axis for axis in range(affine.rank) if axis != 1), node, "normalized")
    return _with_scaled_epsilon(reader, node, affine)


def _require_one(node: ir.Node, scale: Array) -> None:
    detail = f"epsilon is one number, and the scale is {list(scale.shape)}"
    require(scale.size == 1, Reason.AXIS_STOPS, node, detail)


def _with_scaled_epsilon(reader: GraphReader, node: ir.Node, affine: Affine) -> Rewrite:
    """(s*x)/sqrt(s^2*var + eps) = sign(s) * x/sqrt(var + eps/s^2) for one |s| > 0; the sign goes into gamma."""
    require(not any(map(is_read, node.outputs[1:])), Reason.OPERATOR_STOPS, node, "its mean or deviation is read")
    size = np.abs(affine.scale)
    one = size.shape[0] == 1 and bool((size == size.flat[0]).all())
    require(one, Reason.AXIS_STOPS, node, f"epsilon is one number, and the scale is {size.size} of several sizes")
    scale = float(size.flat[0])
    require(scale > 0, Reason.SIGN_STOPS, node, "the scale is 0")
    require_room_for_squares(reader, node, scale)
    own = float(attribute(node, "epsilon", 1e-5))
    epsilon = own / scale**2
    fits = own == epsilon or _LEAST_EPSILON < epsilon < 1e30  # 0 would divide what does not vary by 0
    require(fits, Reason.OUT_OF_RANGE, node, f"epsilon would be {epsilon:g}")
    attributes = {} if scale == 1.0 else {"epsilon": epsilon}
    return Rewrite(node, inputs=_with_signs(reader, node, affine), attributes=attributes)


def _with_signs(reader: GraphReader, node: ir.Node, affine: Affine) -> Mapping[int, Array]:
    """Return gamma times the signs of the scale, which vary by channel at most."""
    signs = np.sign(affine.scale)
    if (signs > 0).all():
        return {}
    gamma = weight_of(reader, node, 1)
    signs = signs.reshape(()) if signs.size == 1 else signs.reshape(-1)
    require(signs.ndim == 0 or signs.shape == gamma.shape, Reason.SIGN_STOPS, node, "gamma has no place for the signs")
    return {1: np.asarray(gamma) * signs}
