"""Carriers that take a maximum or a mean over a window or over axes, and resize."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.edit import Rewrite
from normfold.fold.carriers.passage import Labels, Passage, axes_of, first, is_read, require, shape_of, through
from normfold.graph import GraphReader, attribute
from normfold.reason import Reason


def maximum(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """max(s*x + t) = s*max(x) + t for s >= 0: MaxPool (its padding is -inf) and GlobalMaxPool, per channel."""
    affine = first(node, labels)
    require(not any(map(is_read, node.outputs[1:])), Reason.OPERATOR_STOPS, node, "its Indices are read")
    require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    require(affine.is_constant_on(range(2, affine.rank)), Reason.AXIS_STOPS, node, "it varies inside the window")
    return through(affine)


def average(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """AveragePool, GlobalAveragePool: mean(s*x + t) = s*mean(x) + t per channel, unless padded zeros are counted."""
    affine = first(node, labels)
    require(affine.is_constant_on(range(2, affine.rank)), Reason.AXIS_STOPS, node, "it varies inside the window")
    counted = _counts_padding(node)
    require(affine.has_no_shift or not counted, Reason.ZERO_PADDING, node, "the average counts padded zeros")
    return through(affine)


def _counts_padding(node: ir.Node) -> bool:
    """Whether zeros of the border enter the average, or the divisor is ambiguous between runtimes."""
    if node.op_type == "GlobalAveragePool":
        return False
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return bool((padded and attribute(node, "count_include_pad", 0)) or attribute(node, "ceil_mode", 0))


def reduction(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """ReduceMean, ReduceMax, ReduceMin, ReduceSum: exact for affines that are constant on the reduced axes.

    A maximum or minimum takes a scale >= 0 only, a sum no shift. The axes go, or stay as 1 with ``keepdims``.
    """
    affine = first(node, labels)
    rank = len(shape_of(reader, node, node.inputs[0]))
    axes = _reduced_axes(reader, node, rank)
    keeps = bool(attribute(node, "keepdims", 1))
    if node.op_type in ("ReduceMax", "ReduceMin"):
        require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    if node.op_type == "ReduceSum":
        require(affine.has_no_shift, Reason.SHIFT_STOPS, node, "it would be counted as often as there are elements")
    if not forward:
        return through(affine if keeps else affine.map(lambda array: np.expand_dims(array, axes)))
    require(affine.is_constant_on(axes), Reason.AXIS_STOPS, node, "it varies along a reduced axis")
    return through(affine if keeps else affine.map(lambda array: np.squeeze(array, axes)))


def _reduced_axes(reader: GraphReader, node: ir.Node, rank: int) -> tuple[int, ...]:
    axes = axes_of(reader, node)
    if axes is None or not len(axes):
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def resize(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Resize and Upsample interpolate with weights that add up to 1: exact for affines constant on the resized axes."""
    affine = first(node, labels)
    outside = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    require(outside != "tf_crop_and_resize", Reason.OPERATOR_STOPS, node, "it may extrapolate with a fixed value")
    before, after = shape_of(reader, node, node.inputs[0]), shape_of(reader, node, node.outputs[0])
    changed = [axis for axis, size in enumerate(after) if size is None or before[axis] != size]
    resized = {*changed, *_scaled_axes(reader, node, affine.rank)}
    require(affine.is_constant_on(resized), Reason.AXIS_STOPS, node, "it varies along a resized axis")
    return through(affine)


def _scaled_axes(reader: GraphReader, node: ir.Node, rank: int) -> list[int]:
    """Axes that ``scales`` interpolates, even where the size stays; where they are not known, all behind the channels.

    They are an attribute in opset 7, the second input in 9 and 10, the third since. With ``sizes`` there are none.
    """
    index = 2 if node.op_type == "Resize" and reader.opset >= 11 else 1
    value = node.inputs[index] if index < len(node.inputs) else None
    scales = attribute(node, "scales") if value is None else reader.constant(value)
    if scales is None:
        return [] if value is None else list(range(2, rank))
    axes = attribute(node, "axes") or range(len(scales))
    return [axis % rank for axis, scale in zip(axes, scales, strict=False) if scale != 1]


def pad(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """edge, reflect and wrap repeat what is there; a constant c must again be one constant: s*c + t, or (c - t)/s."""
    affine = first(node, labels)
    mode = str(attribute(node, "mode", "constant"))
    rank = affine.rank
    padded = _padded_axes(reader, node, rank)
    require(affine.is_constant_on(padded), Reason.AXIS_STOPS, node, "it varies along a padded axis")
    if mode != "constant" or not padded:
        return through(affine)
    value = _pad_value(reader, node)
    require(bool(affine.scale.all()) or not forward, Reason.ZERO_PADDING, node, "a scale is 0")
    filled = np.asarray(affine.inverse().apply(value) if forward else affine.apply(value))
    one = float(filled.flat[0])
    require(
        bool((filled == one).all()), Reason.ZERO_PADDING, node, f"channels would need different values for {value:g}"
    )
    if one == value:
        return through(affine)
    return [Passage({0: affine}, _with_pad_value(node, one))]


def _padded_axes(reader: GraphReader, node: ir.Node, rank: int) -> list[int]:
    pads = attribute(node, "pads")
    if pads is None:
        pads = reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS).reshape(-1)
    axes = range(rank)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = [int(axis) % rank for axis in reader.require_constant(node, 3, Reason.DYNAMIC_PARAMETERS)]  # type: ignore[assignment]  # any sequence of axes
    half = len(pads) // 2
    return [axis for axis, begin, end in zip(axes, pads[:half], pads[half:], strict=True) if begin or end]


def _pad_value(reader: GraphReader, node: ir.Node) -> float:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return float(reader.require_constant(node, 2, Reason.DYNAMIC_PARAMETERS).reshape(()))
    return float(attribute(node, "value", 0.0))


def _with_pad_value(node: ir.Node, value: float) -> Rewrite:
    """Before opset 11 the value is an attribute, since then the third input."""
    if "pads" in node.attributes:
        return Rewrite(node, attributes={"value": value})
    return Rewrite(node, inputs={2: np.asarray(value)})
