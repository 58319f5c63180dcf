"""The same model with its sums and affine steps taken in float64: how far its own are from right.

A reduction that strides through memory adds one number after another, and over some thousand elements loses more
digits than an operator that sums by blocks. A norm takes the difference of two large numbers where a channel is dead.
Moving weights and inputs does not show that where the losses of the original and of the moved one are equal; and it is
then the original that is off, not what stands in its place: nothing else shows that the fold is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from normfold.operators.table import is_standard
from normfold.runtime.loaded_model import LoadedModel

_SUMS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceL1"})
_STEPS = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})


def with_exact_sums(model: LoadedModel) -> LoadedModel | None:
    """Return a copy whose float32 reductions, norms and arithmetic compute in float64.

    It is None where there is none of these, or where types are unknown.
    """
    nodes = list(model.graph.node)
    if not any(node.op_type in _SUMS | _STEPS for node in nodes):
        return None
    kinds = _kinds(model.skeleton)
    if not any(_is_exact(node, kinds) for node in nodes):
        return None
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    del skeleton.graph.node[:]
    wide: dict[str, str] = {}
    for node in nodes:
        skeleton.graph.node.extend(_widened(node, wide) if _is_exact(node, kinds) else (node,))
    return replace(model, skeleton=skeleton)


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of each value of the main graph, as far as known."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    tensors = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return tensors | {value.name: value.type.tensor_type.elem_type for value in values}


def _is_exact(node: onnx.NodeProto, kinds: dict[str, int]) -> bool:
    is_one = node.op_type in _SUMS or (node.op_type in _STEPS and len(node.output) == 1)
    if not is_one or not is_standard(node) or not node.input:
        return False
    return all(kinds.get(name) == TensorProto.FLOAT for name in _numbers(node))


def _numbers(node: onnx.NodeProto) -> list[str]:
    """Return the inputs that are numbers, not axes."""
    return list(node.input[:1] if node.op_type in _SUMS else node.input)


def _widened(node: onnx.NodeProto, wide: dict[str, str]) -> Iterator[onnx.NodeProto]:
    """Return the node in float64, from values that are ``wide`` already where there are such."""
    result = f"{node.output[0]}::wide"
    for name in dict.fromkeys(_numbers(node)):
        if name not in wide:
            wide[name] = f"{name}::wide"
            yield helper.make_node("Cast", [name], [wide[name]], to=TensorProto.DOUBLE)
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [wide.get(name, name) for name in node.input]
    copy.output[0] = wide[node.output[0]] = result
    yield copy
    yield helper.make_node("Cast", [result], [node.output[0]], to=TensorProto.FLOAT)
