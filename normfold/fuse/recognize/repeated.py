"""Values that hold one number, however large they are at run time, as ones_like and zeros_like make them."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx_ir as ir

from normfold.constants.shape_values import Dimension, PartialInts, add_result
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
    nodes, is_all = _size_operators(value)
    return is_all and all(node.inputs[0] in data for node in nodes if node.op_type == "Shape")


def size_of(reader: GraphReader, value: ir.Value) -> Dimension:
    """Return the number that a scalar computed from shapes is, with the names of sizes; None for anything else."""
    while (maker := value.producer()) is not None and maker.op_type == "Cast" and maker.inputs[0] is not None:
        value = maker.inputs[0]
    known: dict[str, PartialInts] = {}
    nodes, is_all = _size_operators(value)
    for node in sorted(nodes, key=reader.order) if is_all else ():
        sizes: dict[str, tuple[Dimension, ...]] = {}
        for each in node.inputs:
            array = None if each is None or not reader.is_constant(each) else reader.constant(each)
            if each is not None and array is not None and array.ndim < 2:
                known[each.name or ""] = PartialInts(tuple(map(int, array.reshape(-1))), array.ndim == 0)
            elif each is not None and (shape := reader.shape(each)) is not None:
                sizes[each.name or ""] = tuple(shape)
        add_result(known, ir.to_proto(node), sizes)
    found = known.get(value.name or "")
    return found.entries[0] if found is not None and len(found.entries) == 1 else None


def _size_operators(value: ir.Value) -> tuple[set[ir.Node], bool]:
    """Return the operators that compute a value from shapes, and whether these are all."""
    waiting, met = [value], set[ir.Node]()
    while waiting and len(met) < _MOST_SIZES:
        node = waiting.pop().producer()
        if node is not None and node not in met:
            met.add(node)
            waiting.extend(each for each in node.inputs if each is not None and node.op_type != "Shape")
    return met, not waiting
