"""Carriers that take a maximum or a mean over a window or over axes, and resize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason
from normfold.fold.carriers.elementwise import absolute
from normfold.fold.carriers.unary_functions import raised_to
from normfold.fold.rule import (
    Labels,
    Propagation,
    axes_of,
    data_label,
    how_many,
    propagate,
    require,
    require_constant_on,
    require_no_shift,
    require_no_sign,
    require_varies_on,
)
from normfold.graph.editor import Rewrite
from normfold.graph.reader import Dim, GraphReader, attribute, input_at, is_read


def maximum(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """max(s*x + t) = s*max(x) + t for s >= 0: MaxPool (its padding is -inf) and GlobalMaxPool, per channel."""
    affine = data_label(node, labels)
    require(not any(map(is_read, node.outputs[1:])), Reason.OPERATOR_STOPS, node, "its Indices are read")
    require_no_sign(affine, node)
    require_constant_on(affine, range(2, affine.rank), node, "of the window")
    return propagate(affine)


def average(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """AveragePool, GlobalAveragePool: mean(s*x + t) = s*mean(x) + t per channel, unless padded zeros are counted."""
    affine = data_label(node, labels)
    require_constant_on(affine, range(2, affine.rank), node, "of the window")
    counted = _counts_padding(node)
    require(affine.has_no_shift or not counted, Reason.ZERO_PADDING, node, "the average counts padded zeros")
    return propagate(affine)


def _counts_padding(node: ir.Node) -> bool:
    """Return whether zeros of the border enter the average, or the divisor is ambiguous between runtimes."""
    if node.op_type == "GlobalAveragePool" or not attribute(node, "count_include_pad", 0):
        return False
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return bool(padded or attribute(node, "ceil_mode", 0))


def lp_average(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """LpPool, GlobalLpPool: the norm of s*x is |s| times that of x."""
    affine = data_label(node, labels)
    require_constant_on(affine, range(2, affine.rank), node, "of the window")
    return absolute(reader, node, labels, forward=forward)


def sampled(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """GridSample and RoiAlign interpolate with weights that add up to 1, and to less where they meet zeros outside."""
    affine = data_label(node, labels)
    require_varies_on(affine, [1], node, "the channels are")
    whole = node.op_type == "GridSample" and attribute(node, "padding_mode", "zeros") in ("border", "reflection")
    require(whole or affine.has_no_shift, Reason.ZERO_PADDING, node, "it takes zeros from outside")
    takes_largest = node.op_type == "RoiAlign" and attribute(node, "mode", "avg") == "max"
    if takes_largest:
        require_no_sign(affine, node)
    return propagate(affine)


_PLAIN = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")  # of one number they are that number
_OPPOSITE = {"ReduceMax": "ReduceMin", "ReduceMin": "ReduceMax"}


def reduction(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """ReduceMean and others like it: exact for affines that are constant on the reduced axes, within ``_reduced``.

    The axes go, or stay as 1 with ``keepdims``.
    """
    affine = data_label(node, labels)
    shape = reader.require_shape(node.inputs[0], node)
    axes = _reduced_axes(reader, node, len(shape))
    keeps = bool(attribute(node, "keepdims", 1))
    if forward:
        require_constant_on(affine, axes, node, "reduced")
        passed = _reduced(node, affine, [shape[axis] for axis in axes], forward=True)
        answer = passed if keeps else passed.map(lambda array: np.squeeze(array, axes))
    else:
        passed = _reduced(node, affine, [shape[axis] for axis in axes], forward=False)
        answer = passed if keeps else passed.map(lambda array: np.expand_dims(array, axes))
    turned = node.op_type in _OPPOSITE and not affine.scale_is_nonnegative
    return [Propagation({0: answer}, Rewrite(node, operator=_OPPOSITE[node.op_type]))] if turned else propagate(answer)


def _reduced(node: ir.Node, affine: Affine, sizes: Sequence[Dim], *, forward: bool) -> Affine:
    """Return what a reduction makes of an affine (backward, which one makes ``affine``).

    A maximum takes scales >= 0, or is a minimum for scales <= 0. A sum counts the shift as often as there are elements.
    """
    match node.op_type:
        case "ReduceMax" | "ReduceMin":
            same_sign = affine.scale_is_nonnegative or bool((affine.scale <= 0).all())
            detail = f"scales of both signs; {how_many(affine.scale < 0)} are negative"
            require(same_sign, Reason.SIGN_STOPS, node, detail)
            return affine
        case "ReduceSum" if not affine.has_no_shift:
            known = [size for size in sizes if isinstance(size, int) and size > 0]
            require(
                len(known) == len(sizes), Reason.SHIFT_STOPS, node, "it would be counted an unknown number of times"
            )
            return Affine(affine.scale, affine.shift * (prod(known) if forward else 1.0 / prod(known)))
        case "ReduceL1" | "ReduceL2":
            require_no_shift(affine, node)
            if not forward:
                require_no_sign(affine, node)
            return Affine(np.abs(affine.scale), affine.shift)
        case "ReduceSumSquare":
            return raised_to(
                node, affine if not forward else Affine(np.abs(affine.scale), affine.shift), 2.0 if forward else 0.5
            )
        case "ReduceLogSumExp":
            require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, "it takes a shift only")
    return affine


def _reduced_axes(reader: GraphReader, node: ir.Node, rank: int) -> tuple[int, ...]:
    axes = axes_of(reader, node)
    if axes is None or not len(axes):
        if not attribute(node, "noop_with_empty_axes", 0):
            return tuple(range(rank))
        require(node.op_type in _PLAIN, Reason.OPERATOR_STOPS, node, "runtimes differ in what it does without axes")
        return ()
    return tuple(sorted(axis % rank for axis in axes))


def resize(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Resize and Upsample interpolate with weights that add up to 1: exact for affines constant on the resized axes."""
    affine = data_label(node, labels)
    outside = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    require(outside != "tf_crop_and_resize", Reason.OPERATOR_STOPS, node, "it may extrapolate with a fixed value")
    before, after = reader.require_shape(node.inputs[0], node), reader.require_shape(node.outputs[0], node)
    changed = [axis for axis, size in enumerate(after) if size is None or before[axis] != size]
    resized = {*changed, *_scaled_axes(reader, node, affine.rank)}
    require_constant_on(affine, resized, node, "resized")
    return propagate(affine)


def _scaled_axes(reader: GraphReader, node: ir.Node, rank: int) -> list[int]:
    """Axes that ``scales`` interpolates, even where the size stays; where they are not known, all behind the channels.

    They are an attribute in opset 7, the second input in 9 and 10, the third since. With ``sizes`` there are none.
    """
    index = 2 if node.op_type == "Resize" and reader.opset >= 11 else 1
    value = input_at(node, index)
    scales = attribute(node, "scales") if value is None else reader.constant(value)
    if scales is None:
        return [] if value is None else list(range(2, rank))
    axes = attribute(node, "axes") or range(len(scales))
    return [axis % rank for axis, scale in zip(axes, scales, strict=False) if scale != 1]


def pad(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """edge, reflect and wrap repeat what is there; a constant c must again be one constant: s*c + t, or (c - t)/s.

    Zeros stay zeros under any scale, which may then vary along a padded axis too.
    """
    affine = data_label(node, labels)
    mode = str(attribute(node, "mode", "constant"))
    pads = pads_of(reader, node, affine.rank)
    if mode == "constant" and affine.has_no_shift and pad_value(reader, node) == 0:
        return propagate(affine.map(lambda array: _padded(array, pads) if forward else _cropped(array, pads)))
    require_constant_on(affine, pads, node, "padded")
    if mode != "constant" or not pads:
        return propagate(affine)
    value = pad_value(reader, node)
    zeros = how_many(affine.scale == 0)
    require(bool(affine.scale.all()) or not forward, Reason.ZERO_PADDING, node, f"{zeros} scales are 0")
    filled = np.asarray(affine.inverse().apply(value) if forward else affine.apply(value))
    one = float(filled.flat[0])
    require(
        bool((filled == one).all()), Reason.ZERO_PADDING, node, f"channels would need different values for {value:g}"
    )
    if one == value:
        return propagate(affine)
    return [Propagation({0: affine}, _with_pad_value(node, one))]


def pads_of(reader: GraphReader, node: ir.Node, rank: int) -> dict[int, tuple[int, int]]:
    """Return what is added at the begin and the end of each axis, where it is not nothing; a negative number cuts."""
    pads = attribute(node, "pads")
    if pads is None:
        pads = reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS).reshape(-1)
    axes = range(rank)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = [int(axis) % rank for axis in reader.require_constant(node, 3, Reason.DYNAMIC_PARAMETERS)]  # type: ignore[assignment]  # any sequence of axes
    half = len(pads) // 2
    ends = zip(axes, pads[:half], pads[half:], strict=True)
    return {axis: (int(begin), int(end)) for axis, begin, end in ends if begin or end}


def _padded(array: Array, pads: Mapping[int, tuple[int, int]]) -> Array:
    """Return a scale of the inside, on the whole: 1 where zeros are added."""
    for axis, (begin, end) in pads.items():
        if array.shape[axis] > 1:
            inside = array.take(range(max(0, -begin), array.shape[axis] - max(0, -end)), axis=axis)
            around = [(max(0, begin), max(0, end)) if at == axis else (0, 0) for at in range(array.ndim)]
            array = np.pad(inside, around, constant_values=1.0)
    return array


def _cropped(array: Array, pads: Mapping[int, tuple[int, int]]) -> Array:
    """Return a scale of the whole, on the inside."""
    return _padded(array, {axis: (-begin, -end) for axis, (begin, end) in pads.items()})


def pad_value(reader: GraphReader, node: ir.Node) -> float:
    """Return the constant that a Pad puts around; Refusal where it is known at run time only."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return reader.require_number(node, 2, Reason.DYNAMIC_PARAMETERS)
    return float(attribute(node, "value", 0.0))


def _with_pad_value(node: ir.Node, value: float) -> Rewrite:
    """Before opset 11 the value is an attribute, since then the third input."""
    if "pads" in node.attributes:
        return Rewrite(node, attributes={"value": value})
    return Rewrite(node, inputs={2: np.asarray(value)})
