"""Shapes inside model functions: a function body has none of its own, but all its calls may agree on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import onnx_ir as ir
from onnx import helper, shape_inference

from normfold.errors import CrashError
from normfold.graph.reader import graphs_of, input_at
from normfold.native import isolated

_Known = tuple[ir.TypeProtocol, tuple[int | str | None, ...]]


@contextmanager
def shapes_in_functions(model: ir.Model) -> Iterator[None]:
    """Give values of functions, inside the context, the types and shapes that hold in every call."""
    given: list[ir.Value] = []
    for function in model.functions.values():
        inputs = _agreed(model, function)
        if inputs is not None:
            given.extend(_infer(model, function, inputs))
    try:
        yield
    finally:
        for function in model.functions.values():
            given.extend(output for node in function for output in node.outputs)
        for value in given:
            value.shape, value.type = None, None


def _agreed(model: ir.Model, function: ir.Function) -> list[_Known] | None:
    """Return what every call passes; None where a type or rank is unknown or differs, or nothing calls it."""
    calls = [node for _, graph in graphs_of(model) for node in graph if node.op_identifier() == function.identifier()]
    if not calls:
        return None
    result = []
    for index in range(len(function.inputs)):
        values = [input_at(call, index) for call in calls]
        known = _same_in_all(values)
        if known is None:
            return None
        result.append(known)
    return result


def _same_in_all(values: Sequence[ir.Value | None]) -> _Known | None:
    shapes, types = [], []
    for value in values:
        if value is None or value.shape is None or value.type is None:
            return None
        shapes.append([dim if isinstance(dim, int) else dim.value for dim in value.shape])
        types.append(value.type)
    if any(len(shape) != len(shapes[0]) for shape in shapes) or any(kind != types[0] for kind in types):
        return None
    sizes = tuple(each[0] if all(size == each[0] for size in each) else None for each in zip(*shapes, strict=True))
    return types[0], sizes


def _infer(model: ir.Model, function: ir.Function, inputs: Sequence[_Known]) -> list[ir.Value]:
    """Run shape inference on the body as if it were a model; return the values that learned something."""
    proto = ir.to_proto(function)
    values = [
        helper.make_tensor_value_info(name, int(kind.dtype), list(sizes))
        for name, (kind, sizes) in zip(proto.input, inputs, strict=True)
    ]
    if any(attribute.ref_attr_name for node in proto.node for attribute in node.attribute):
        return []
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output]
    graph = helper.make_graph(proto.node, "body", values, outputs)
    body = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=model.ir_version)
    try:
        inferred = isolated.call("shape inference", shape_inference.infer_shapes, body, False, False, True).graph
    except (CrashError, shape_inference.InferenceError, ValueError):
        return []
    known = {value.name: value.type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    learned = [*function.inputs, *(output for node in function for output in node.outputs)]
    for value in learned:
        if value.name in known and known[value.name].HasField("tensor_type"):
            value.type = ir.serde.deserialize_type_proto_for_type(known[value.name])
            value.shape = ir.serde.deserialize_type_proto_for_shape(known[value.name])
    return learned
