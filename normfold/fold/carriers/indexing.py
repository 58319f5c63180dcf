"""Carriers that take or put elements by index: where it is known at run time only, no place may differ from others.

What is put among others must lack what they lack.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason
from normfold.fold.rule import (
    Labels,
    Propagation,
    applied,
    data_label,
    how_many,
    propagate,
    require,
    require_constant_on,
    require_no_shift,
    size_of,
)
from normfold.graph.display_names import display_name
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute


def by_element(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """GatherElements along an axis: other axes stay, as far as all of them is taken."""
    affine = data_label(node, labels)
    data, result = reader.require_shape(node.inputs[0], node), reader.require_shape(node.outputs[0], node)
    axis = int(attribute(node, "axis", 0)) % affine.rank
    require_constant_on(affine, [axis], node, "indexed at run time")
    for other in affine.varying_axes:
        whole = data[other] is not None and data[other] == result[other]
        require(whole, Reason.AXIS_STOPS, node, f"it takes a part of axis {other}")
    return propagate(affine)


def by_position(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """GatherND: an affine of the axes behind those that the indices address."""
    affine = data_label(node, labels)
    data, result = reader.require_shape(node.inputs[0], node), reader.require_shape(node.outputs[0], node)
    kept = axes_kept(reader, node)
    require_constant_on(affine, range(affine.rank - kept), node, "indexed at run time")
    rank = len(result) if forward else len(data)
    return propagate(affine.map(lambda array: array.reshape((1,) * (rank - kept) + array.shape[array.ndim - kept :])))


def axes_kept(reader: GraphReader, node: ir.Node) -> int:
    """How many trailing axes of the data a GatherND leaves whole."""
    length = size_of(reader, node, node.inputs[1], -1)
    return len(reader.require_shape(node.inputs[0], node)) - int(attribute(node, "batch_dims", 0)) - length


def reversed_sequence(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """ReverseSequence changes the order along time only, for each element of the batch."""
    affine = data_label(node, labels)
    time = int(attribute(node, "time_axis", 0))
    require_constant_on(affine, [time], node, "the time")
    return propagate(affine)


def largest(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """TopK: an increasing map that is the same along the axis leaves the order, and so the Indices, as they are."""
    affine = data_label(node, labels)
    axis = int(attribute(node, "axis", -1))
    detail = f"the order would change; {how_many(affine.scale <= 0)} are not positive"
    require(bool((affine.scale > 0).all()), Reason.SIGN_STOPS, node, detail)
    require_constant_on(affine, [axis], node, "sorted")
    return propagate(affine)


_DATA, _UPDATES = 0, 2


def scatter(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """s*y + t where y is the data with some elements replaced: data and updates take both.

    Where updates are added (``reduction``), they take the scale only.
    """
    reduction = str(attribute(node, "reduction", "none"))
    require(reduction in ("none", "add"), Reason.OPERATOR_STOPS, node, f"reduction {reduction}")
    if not forward:
        affine = data_label(node, labels)
        return [Propagation({_DATA: affine, _UPDATES: _of_updates(reader, node, affine, reduction)})]
    affine = labels.get(_DATA) or _of_result(reader, node, labels[_UPDATES])
    wanted = {_DATA: affine, _UPDATES: _of_updates(reader, node, affine, reduction)}
    inputs = {}
    for index, each in wanted.items():
        if reader.is_constant(node.inputs[index]):
            require(bool(each.scale.all()), Reason.SIGN_STOPS, node, "a scale is 0")
            inputs[index] = applied(reader, node, index, each.inverse())
            continue
        own = labels.get(index, Affine.identity(each.rank))
        same = f"{display_name(node.inputs[index])} does not lack the same"
        require(own.same_as(each), Reason.SUM_NEEDS_ALL, node, same)
    return [Propagation({0: affine}, Rewrite(node, inputs=inputs) if inputs else None)]


def _of_updates(reader: GraphReader, node: ir.Node, affine: Affine, reduction: str) -> Affine:
    """Return the affine of the result, on the updates."""
    affine = affine if reduction == "none" else affine.scale_only
    kept = _kept_axes(reader, node, affine.rank)
    require_constant_on(affine, (axis for axis in range(affine.rank) if axis not in kept), node, "indexed")
    if node.op_type == "ScatterND":
        rank = len(reader.require_shape(node.inputs[_UPDATES], node))
        tail = len(kept)
        return affine.map(lambda array: array.reshape((1,) * (rank - tail) + array.shape[array.ndim - tail :]))
    data, updates = (reader.require_shape(node.inputs[index], node) for index in (_DATA, _UPDATES))
    for axis in affine.varying_axes:
        whole = data[axis] is not None and data[axis] == updates[axis]
        require(whole, Reason.AXIS_STOPS, node, f"a part of axis {axis} is written")
    return affine


def _of_result(reader: GraphReader, node: ir.Node, affine: Affine) -> Affine:
    """Return the affine of the updates, on the result."""
    if node.op_type != "ScatterND":
        return affine
    rank = len(reader.require_shape(node.inputs[_DATA], node))
    tail = len(_kept_axes(reader, node, rank))
    require_constant_on(affine, range(affine.rank - tail), node, "indexed")
    return affine.map(lambda array: array.reshape((1,) * (rank - tail) + array.shape[array.ndim - tail :]))


def _kept_axes(reader: GraphReader, node: ir.Node, rank: int) -> Sequence[int]:
    """Return the axes of the data that the indices leave as they are."""
    if node.op_type != "ScatterND":
        axis = int(attribute(node, "axis", 0)) % rank
        return [other for other in range(rank) if other != axis]
    return range(size_of(reader, node, node.inputs[1], -1), rank)


def compress(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Compress takes some slices along its axis; without one it takes elements of the whole."""
    affine = data_label(node, labels)
    if "axis" in node.attributes:
        require_constant_on(affine, [int(attribute(node, "axis"))], node, "taken by a condition")
        return propagate(affine)
    require_constant_on(affine, range(affine.rank), node, "taken by a condition")
    rank = 1 if forward else len(reader.require_shape(node.inputs[0], node))
    return propagate(affine.map(lambda array: array.reshape((1,) * rank)))


def unpooled(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """MaxUnpool puts the elements anywhere in the result, and zeros around: one scale passes."""
    affine = data_label(node, labels)
    require_no_shift(affine, node, "it puts zeros around")
    require_constant_on(affine, range(affine.rank), node, "addressed by indices")
    return propagate(affine)
