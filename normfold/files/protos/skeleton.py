"""Copy a model without its big weights, for the checker, shape inference and onnxsim.

A big initializer becomes a graph input of the same name, type and static shape. Weights are thus never copied,
serialized or sent to another process, and a model of many gigabytes costs what its graph costs.
"""

from __future__ import annotations

import math

import onnx

from normfold.operators.table import is_standard

BIG_FLOATS = 4 * 1024  # bytes; no shape arithmetic needs more
BIG_INTEGERS = 1024 * 1024  # bytes; index tables may be worth folding
_FLOATS = frozenset(
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "COMPLEX64", "COMPLEX128")
)


def is_big(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor is a weight, and not a shape, an index or a scalar."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return True
    if tensor.data_type == onnx.TensorProto.STRING:
        return False
    limit = BIG_FLOATS if tensor.data_type in _FLOATS else BIG_INTEGERS
    return bool(4 * math.prod(tensor.dims) > limit)


def skeleton(proto: onnx.ModelProto, freeze: bool = True) -> onnx.ModelProto:
    """Return a copy without big initializers and big Constant nodes.

    With ``freeze`` an initializer that the caller may override (a graph input too, in IR 4 or later) stays as it is;
    without it, it becomes a plain input, so that nothing computed from it can be folded.
    """
    bare = onnx.ModelProto()
    bare.ir_version = proto.ir_version
    bare.opset_import.extend(proto.opset_import)
    bare.functions.extend(proto.functions)
    bare.metadata_props.extend(proto.metadata_props)
    graph, full = bare.graph, proto.graph
    graph.name = full.name
    graph.input.extend(full.input)
    graph.output.extend(full.output)
    graph.value_info.extend(full.value_info)
    inputs = {value.name for value in full.input}
    for tensor in full.initializer:
        overridable = tensor.name in inputs and proto.ir_version >= 4
        if not is_big(tensor) and (freeze or not overridable):
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            _add_input(graph, tensor.name, tensor)
    for node in full.node:
        constant = _big_constant(node)
        if constant is None:
            graph.node.append(node)
        else:
            _add_input(graph, node.output[0], constant)
    return bare


def _add_input(graph: onnx.GraphProto, name: str, tensor: onnx.TensorProto) -> None:
    graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))


def _big_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or not is_standard(node) or not node.attribute:
        return None
    attribute = node.attribute[0]
    return attribute.t if attribute.name == "value" and is_big(attribute.t) else None
