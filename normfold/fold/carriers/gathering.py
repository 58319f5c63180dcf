"""Carriers that take elements at positions known only at run time: what they take along must be the same everywhere."""

from __future__ import annotations

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    how_many,
    propagate,
    require,
    require_constant_on,
    shape_of,
)
from normfold.graph.reader import GraphReader, attribute


def by_element(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """GatherElements along an axis: other axes stay, as far as all of them is taken."""
    affine = data_label(node, labels)
    data, result = shape_of(reader, node, node.inputs[0]), shape_of(reader, node, node.outputs[0])
    axis = int(attribute(node, "axis", 0)) % affine.rank
    require_constant_on(affine, [axis], node, "indexed at run time")
    for other in affine.varying_axes:
        whole = data[other] is not None and data[other] == result[other]
        require(whole, Reason.AXIS_STOPS, node, f"it takes a part of axis {other}")
    return propagate(affine)


def by_position(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """GatherND: an affine of the axes behind those that the indices address."""
    affine = data_label(node, labels)
    data, result = shape_of(reader, node, node.inputs[0]), shape_of(reader, node, node.outputs[0])
    kept = axes_kept(reader, node)
    require_constant_on(affine, range(affine.rank - kept), node, "indexed at run time")
    rank = len(result) if forward else len(data)
    return propagate(affine.map(lambda array: array.reshape((1,) * (rank - kept) + array.shape[array.ndim - kept :])))


def axes_kept(reader: GraphReader, node: ir.Node) -> int:
    """How many trailing axes of the data a GatherND leaves whole."""
    indices = shape_of(reader, node, node.inputs[1])
    require(bool(indices) and isinstance(indices[-1], int), Reason.UNKNOWN_SHAPE, node, "the length of an index")
    length = indices[-1]
    assert isinstance(length, int), "required above"
    return len(shape_of(reader, node, node.inputs[0])) - int(attribute(node, "batch_dims", 0)) - length


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
