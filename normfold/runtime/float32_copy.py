"""The same model in float32, for runtimes without a kernel for its own floating type."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from normfold.operators.walk import attributes_of, every_node, subgraphs
from normfold.runtime.loaded_model import LoadedModel, changed

_NAMES = {TensorProto.DOUBLE: "float64", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
_COARSE = (TensorProto.BFLOAT16, TensorProto.FLOAT16)

# Attributes that name an element type.
_TYPE_ATTRIBUTES = {"to", "dtype", "output_dtype", "stash_type"}


def coarsest(model: LoadedModel) -> str:
    """``bfloat16`` or ``float16`` when any value of the model has that type, else an empty string."""
    found = set(_types(model))
    return next((_NAMES[kind] for kind in _COARSE if kind in found), "")


def can_retype(model: LoadedModel) -> bool:
    """Whether anything but float32 is computed."""
    return bool(set(_types(model)) & set(_NAMES))


@cache
def _may_name_types(domain: str, operator: str) -> bool:
    known = attributes_of(domain, operator)
    return known is None or not _TYPE_ATTRIBUTES.isdisjoint(known) or "TENSOR" in known.values()


def _types(model: LoadedModel) -> Iterable[int]:
    graph = model.graph
    for tensor in graph.initializer:
        yield tensor.data_type
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.type.tensor_type.elem_type
    for node in every_node(model.skeleton):
        for attribute in node.attribute if _may_name_types(node.domain, node.op_type) else ():
            if attribute.name in _TYPE_ATTRIBUTES:
                yield attribute.i
            elif attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t.data_type


def retyped(model: LoadedModel) -> LoadedModel:
    """Return a copy in which every float16, bfloat16 and float64 is a float32."""
    copy = changed(model, lambda array: array.astype(np.float32), dict.fromkeys(_NAMES, TensorProto.FLOAT))
    _retype_graph(copy.graph)
    for function in copy.skeleton.functions:
        _retype_nodes(function.node)
    return copy


def _retype_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _retype_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _retype_type(value.type)
    _retype_nodes(graph.node)


def _retype_type(kind: onnx.TypeProto) -> None:
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        kind = (kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type).elem_type
    if kind.HasField("tensor_type") and kind.tensor_type.elem_type in _NAMES:
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _retype_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _NAMES and tensor.data_location != TensorProto.EXTERNAL:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _retype_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NAMES:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _retype_tensor(attribute.t)
        for graph in subgraphs(node):
            _retype_graph(graph)
