"""Values that hold one number, however large they are at run time, as ones_like and zeros_like make them."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx_ir as ir

from normfold.fuse.recognize.views import count_of, sizes_of
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import is_standard

_REPEATS = ("Expand", "Tile", "Identity", "Reshape", "Cast", "CastLike", "Unsqueeze", "Squeeze")
_LONGEST = 8  # operators between a number and the value that repeats it
_MOST_SIZES = 64  # operators that compute a shape


def repeated_number(reader: GraphReader, value: ir.Value, depth: int = _LONGEST) -> float | None:
    """Return the number that a value repeats; None where it is anything else."""
    if reader.is_constant(value):
        stored = None if value.const_value is None else value.const_value.numpy().reshape(-1)
        if stored is not None and stored.size and stored[0] != stored[-1]:
            return None  # before a large weight is widened
        array = reader.constant(value)
        is_one = array is not None and array.size and bool(np.all(array == array.reshape(-1)[0]))
        return float(array.reshape(-1)[0]) if array is not None and is_one else None
    node = value.producer()
    if node is None or not depth or not is_standard(node) or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "ConstantOfShape":
        stored = attribute(node, "value")
        return 0.0 if stored is None else float(stored.numpy().reshape(-1)[0])
    if node.op_type in _REPEATS:
        return repeated_number(reader, node.inputs[0], depth - 1)
    if node.op_type == "Add":
        addends = [repeated_number(reader, each, depth - 1) for each in node.inputs if each is not None]
        known = [each for each in addends if each is not None]
        return sum(known) if len(known) == len(addends) else None
    if node.op_type == "ReduceSum":
        number, count = repeated_number(reader, node.inputs[0], depth - 1), _addends(reader, node)
        return None if number is None or count is None else number * count
    return None


def _addends(reader: GraphReader, node: ir.Node) -> int | None:
    """Return how many elements each result of a ReduceSum is the sum of."""
    source, axes = node.inputs[0], reader.axes(node)
    sizes = None if source is None else sizes_of(reader, source)
    return count_of([sizes[axis] for axis in axes]) if sizes is not None and axes else None


def is_sized_by(value: ir.Value, data: Container[ir.Value]) -> bool:
    """Say whether the shape of a value that repeats a number is computed from the shapes of ``data`` alone."""
    waiting: list[ir.Value] = [value]
    met: set[ir.Node] = set()
    while waiting and len(met) < _MOST_SIZES:
        node = waiting.pop().producer()
        if node is None or node in met:
            continue
        met.add(node)
        if node.op_type == "Shape":
            if node.inputs[0] not in data:
                return False
            continue
        waiting.extend(each for each in node.inputs if each is not None)
    return not waiting
