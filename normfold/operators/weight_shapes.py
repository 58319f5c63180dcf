"""Shapes that a weight tells: the output of a Conv has the rank and the channels of its weight, whatever it reads.

``onnx.shape_inference`` gives such an output no shape where the input has none, as behind an If whose branches have
several ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import helper

from normfold.operators.table import is_standard
from normfold.operators.walk import subgraphs

SHAPED_BY_WEIGHT = frozenset({"Conv", "ConvTranspose", "Gemm"})


def shape_by_weight(
    operator: str, weight: Sequence[int], attribute: Callable[[str, int], int]
) -> tuple[int | None, ...]:
    """Return the shape of the output of an operator of SHAPED_BY_WEIGHT, as the sizes of its weight tell it.

    ``attribute`` gives an attribute by its name, or the default that follows the name.
    """
    if operator == "Gemm":
        return (None, weight[0] if attribute("transB", 0) else weight[1])
    channels = weight[0] if operator == "Conv" else weight[1] * attribute("group", 1)
    return (None, channels, *[None] * (len(weight) - 2))


def add_shapes(graph: onnx.GraphProto, outer: Mapping[str, onnx.ValueInfoProto] | None = None) -> bool:
    """Write down the shapes that weights tell in ``graph`` and its bodies; return whether one of them is new.

    ``outer`` are the weights of the graphs around it.
    """
    stored = (helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in graph.initializer)
    weights = {**(outer or {}), **{value.name: value for value in (*graph.input, *stored)}}
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    found = False
    for node in graph.node:
        for body in subgraphs(node):
            found = add_shapes(body, weights) or found
        weight = weights.get(node.input[1]) if is_standard(node) and node.op_type in SHAPED_BY_WEIGHT else None
        entry = known.get(node.output[0])
        if weight is None or (entry is not None and entry.type.tensor_type.HasField("shape")):
            continue
        sizes = [dim.dim_value for dim in weight.type.tensor_type.shape.dim]
        if len(sizes) > 1 and all(sizes):
            own = {each.name: each.i for each in node.attribute}
            shape = shape_by_weight(node.op_type, sizes, own.get)
            kind = weight.type.tensor_type.elem_type
            (entry or graph.value_info.add()).CopyFrom(helper.make_tensor_value_info(node.output[0], kind, shape))
            found = True
    return found
