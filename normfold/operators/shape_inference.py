"""Infer shapes as onnx does, through operators that it does not know, and without sizes that it makes up wrongly.

Source: https://onnx.ai/onnx/repo-docs/ShapeInference.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.operators import ml_operators, weight_shapes
from normfold.operators.runtime_shapes import with_stand_ins, without_stand_ins
from normfold.operators.walk import every_node, inner_graphs

_LONGEST = 2**16  # entries of a vector of sizes
_LONGEST_RANGE = 2**20
_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
_PROPAGATED = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Mul", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze"}
)


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """As ``onnx.shape_inference.infer_shapes``, through operators of machine learning and of ONNX Runtime as well."""
    propagates = _has_short_shapes(model)
    inferred = _with_stand_ins(model, propagates)
    # each round makes at least one more output known
    while weight_shapes.add_shapes(inferred.graph) or ml_operators.add_shapes(inferred.graph):
        inferred = _with_stand_ins(inferred, propagates)
    _forget_sizes_of_elements(model, inferred)
    return inferred


def _with_stand_ins(model: onnx.ModelProto, propagates: bool) -> onnx.ModelProto:
    """Infer as onnx does, with operators of the standard in place of those of ONNX Runtime."""
    standing = with_stand_ins(model)
    inferred = onnx.shape_inference.infer_shapes(standing or model, data_prop=propagates)
    return inferred if standing is None else without_stand_ins(inferred, model)


def _has_short_shapes(model: onnx.ModelProto) -> bool:
    """Return whether no chain of Concat makes a vector of more than _LONGEST entries, and no Range a far longer one.

    Data propagation keeps every vector as a list of dimensions: one joined with itself 40 times takes terabytes.
    """
    entries: dict[str, int] = {}
    numbers = dict(_largest_numbers(model))
    for node in every_node(model):
        if node.op_type == "Range" and sum(numbers.get(name, 0) for name in node.input[:2]) > _LONGEST_RANGE:
            return False
        sizes = [entries.get(name, 1) for name in node.input] if node.op_type in _PROPAGATED else []
        size = sum(sizes) if node.op_type == "Concat" else max(sizes, default=1)
        if size > _LONGEST:
            return False
        if size > 1:
            entries.update(dict.fromkeys(node.output, size))
        read = node.input if node.op_type in ("Add", "Concat", "Mul", "Sub") else node.input[:1]  # no axes, no ends
        known = [numbers[name] for name in read if name in numbers] if sizes else []
        if known:
            number = math.prod(known) if node.op_type == "Mul" else sum(known)
            numbers.update(dict.fromkeys(node.output, min(number, 2**63)))
    return True


def _largest_numbers(model: onnx.ModelProto) -> Iterator[tuple[str, int]]:
    """Yield the names of short constants of integers, with their largest number."""
    graphs = (model.graph, *inner_graphs(model))
    stored = [(tensor.name, tensor) for graph in graphs for tensor in graph.initializer]
    stored += [
        (node.output[0], each.t)
        for node in every_node(model)
        for each in node.attribute
        if node.op_type == "Constant" and each.HasField("t")
    ]
    for name, tensor in stored:
        is_here = tensor.data_location != onnx.TensorProto.EXTERNAL
        if tensor.data_type in _INTEGERS and is_here and 0 < math.prod(tensor.dims) <= _LONGEST:
            yield name, int(np.abs(numpy_helper.to_array(tensor).astype(float)).max())


def _forget_sizes_of_elements(model: onnx.ModelProto, inferred: onnx.ModelProto) -> None:
    """Remove the names of sizes that onnx gives to all elements of a sequence; each may have a size of its own.

    ONNX Runtime believes that values of one named shape are equally large, and gives them one buffer.
    """
    elements = {name for node in every_node(model) if node.op_type == "SequenceAt" for name in node.output}
    if not elements:
        return
    graphs = [inferred.graph, *inner_graphs(inferred)]
    values = [value for graph in graphs for value in (*graph.value_info, *graph.output)]
    named = {name for value in values if value.name in elements for name in _names_of_sizes(value)}
    declared = [value for graph in (model.graph, *inner_graphs(model)) for value in (*graph.input, *graph.value_info)]
    made_up = named.difference(*map(_names_of_sizes, (*declared, *model.graph.output)))
    for value in values:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in made_up:
                dim.ClearField("dim_param")


def _names_of_sizes(value: onnx.ValueInfoProto) -> set[str]:
    return {dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param}
