"""Shapes of the operators of classic machine learning, which ``onnx.shape_inference`` does not know.

Pipelines of scikit-learn begin with them, and nothing behind them would have a shape.
Source: https://onnx.ai/onnx/operators/index.html#ai-onnx-ml
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from normfold.operators.table import ML_DOMAIN
from normfold.operators.walk import attribute_value

KEEPS_SHAPE = frozenset({"Scaler", "Normalizer", "Imputer", "Binarizer", "LabelEncoder"})
MAKES_FLOATS = frozenset({"Scaler", "Normalizer", "LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"})
TARGETS = {"LinearRegressor": "targets", "SVMRegressor": "", "TreeEnsembleRegressor": "n_targets"}
Dims = Sequence[int | str | None]


def add_shapes(graph: onnx.GraphProto) -> bool:
    """Write down the shape of every such operator whose input has one; whether there was any."""
    known = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    lengths = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found = False
    for node in graph.node:
        entry = known.get(node.input[0]) if node.domain == ML_DOMAIN and node.input else None
        made = known.get(node.output[0]) if entry is not None else None
        if entry is None or not _has_shape(entry) or (made is not None and _has_shape(made)):
            continue
        sizes = _sizes(node, _sizes_of(entry), lengths)
        if sizes is not None:
            kind = (made or entry).type.tensor_type.elem_type
            kind = onnx.TensorProto.FLOAT if node.op_type in MAKES_FLOATS else kind
            info = helper.make_tensor_value_info(node.output[0], kind, list(sizes))
            (made or graph.value_info.add()).CopyFrom(info)
            found = True
    return found


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _sizes_of(value: onnx.ValueInfoProto) -> Dims:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]


def _sizes(node: onnx.NodeProto, entry: Dims, lengths: dict[str, list[int]]) -> Dims | None:
    """Return the shape of the first output; None for an operator that is not known here."""
    if node.op_type in KEEPS_SHAPE:
        return entry
    if node.op_type in TARGETS and len(entry) == 2:
        named = TARGETS[node.op_type]
        targets = attribute_value(node, named, 1)
        return [entry[0], targets]
    if node.op_type == "ArrayFeatureExtractor" and len(entry) == 2 and node.input[1] in lengths:
        count = 1
        for length in lengths[node.input[1]]:
            count *= length
        return [entry[0], count]
    return None
