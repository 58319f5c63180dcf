"""Operators that give back what they get: where shapes, types and constants prove it, their readers read their input.

One line of the table for each operator. Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from normfold.graph.reader import GraphReader, attribute, has_parameters, input_at, is_read
from normfold.graph.training import drops_nothing
from normfold.operators.table import is_standard

_NO_END = 2**31 - 1  # exporters write it, or a larger number, for "to the end"

Test = Callable[[GraphReader, ir.Node], bool]


def value_passed(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    """Return the input that the first output of ``node`` is, where that is the only output that anything reads."""
    if node.op_type == "Where" and is_standard(node):
        return _value_chosen(reader, node)
    if node.op_type == "Concat" and is_standard(node) and len(node.inputs) > 1:
        return _value_joined_again(reader, node)
    return node.inputs[0] if _passes_first(reader, node) else None


def _value_chosen(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    """Return the operand of a Where that a constant condition always takes, if it has the shape of the output."""
    condition = reader.constant(node.inputs[0])
    if condition is None or not (condition.all() or not condition.any()):
        return None
    chosen, shape = node.inputs[1 if condition.all() else 2], node.outputs[0].shape
    own = None if chosen is None else reader.shape(chosen)
    is_whole = own is not None and shape is not None and own == tuple(shape) and all(map(_is_size, own))
    return chosen if is_whole and condition.size else None


def _value_joined_again(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    """Return what a Split takes apart, where the Concat joins all the parts in their order along the same axis."""
    split = None if node.inputs[0] is None else node.inputs[0].producer()
    if split is None or split.op_type != "Split" or not is_standard(split) or has_parameters(node):
        return None
    shape = reader.shape(split.inputs[0])
    if shape is None or has_parameters(split) or list(node.inputs) != list(split.outputs):
        return None
    axes = {int(attribute(each, "axis", 0)) % len(shape) for each in (node, split)}
    return split.inputs[0] if len(axes) == 1 else None


def _passes_first(reader: GraphReader, node: ir.Node) -> bool:
    test = _TABLE.get(node.op_type) if is_standard(node) else None
    if test is None or not node.inputs or node.inputs[0] is None:
        return False
    if test is not _always and reader.is_constant(node.outputs[0]):
        return False  # what is made from constants alone is evaluated elsewhere
    if any(map(is_read, node.outputs[1:])):
        return False
    return not has_parameters(node) and test(reader, node)


def _always(_: GraphReader, __: ir.Node) -> bool:
    return True


def _alone(_: GraphReader, node: ir.Node) -> bool:
    """Return whether it is a sum, mean, maximum or concatenation of one."""
    return len(node.inputs) == 1


def _keeps_shape(reader: GraphReader, node: ir.Node) -> bool:
    """Input and output have one shape; one dimension may be unknown, because the number of elements stays."""
    before, after = reader.shape(node.inputs[0]), node.outputs[0].shape
    if before is None or after is None or len(before) != len(after):
        return False
    pairs = list(zip(before, after, strict=True))
    unlike = [pair for pair in pairs if not _is_size(pair[0]) or pair[0] != pair[1]]
    if len(unlike) == 1:
        return not all(map(_is_size, unlike[0])) and (0, 0) not in pairs
    return not unlike


def _is_size(dim: object) -> bool:
    return isinstance(dim, int)


def _keeps_all(reader: GraphReader, node: ir.Node) -> bool:
    """Input and output have one shape, known in every dimension."""
    before, after = reader.shape(node.inputs[0]), node.outputs[0].shape
    return before is not None and after is not None and all(map(_is_size, before)) and before == tuple(after)


def _keeps_order(_: GraphReader, node: ir.Node) -> bool:
    order = attribute(node, "perm")
    return order is not None and list(order) == sorted(order)


def _keeps_type(reader: GraphReader, node: ir.Node) -> bool:
    value = node.inputs[0]
    before = reader.dtype(value)
    return before is not None and before == attribute(node, "to")


def _takes_all(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Slice takes, forwards, as much as there is: by its shapes, or from 0 to beyond any end."""
    steps = reader.constant(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    if steps is None or not (steps == 1).all():
        return False
    starts, ends = (reader.constant(value) for value in node.inputs[1:3]) if len(node.inputs) > 2 else (None, None)
    beyond = starts is not None and ends is not None and not starts.any() and (ends >= _NO_END).all()
    return bool(beyond) or _keeps_all(reader, node) or _keeps_sliced_axes(reader, node)


def _keeps_sliced_axes(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether each axis that a Slice names has one known size before and behind it; it leaves the others."""
    axes = reader.constant(input_at(node, 3))
    before, after = reader.shape(node.inputs[0]), node.outputs[0].shape
    if axes is None or before is None or after is None or len(before) != len(after):
        return False
    return all(_is_size(before[axis]) and before[axis] == after[axis] for axis in axes.reshape(-1).tolist())


def _adds_nothing(reader: GraphReader, node: ir.Node) -> bool:
    pads = attribute(node, "pads") if len(node.inputs) < 2 else reader.constant(node.inputs[1])
    return pads is not None and not np.any(pads)


_TABLE: Mapping[str, Test] = {
    "Identity": _always,
    "Dropout": drops_nothing,
    "Sum": _alone,
    "Mean": _alone,
    "Max": _alone,
    "Min": _alone,
    "Concat": _alone,
    "Reshape": _keeps_shape,
    "Flatten": _keeps_shape,
    "Expand": _keeps_all,
    "Tile": _keeps_all,
    "Slice": _takes_all,
    "Transpose": _keeps_order,
    "Cast": _keeps_type,
    "Pad": _adds_nothing,
}
