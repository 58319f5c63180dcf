"""The same model with its sums taken in float64: how far its own sums are from right.

A reduction that strides through memory adds one number after another, and over some thousand elements loses more
digits than an operator that sums by blocks. Moving weights and inputs does not show that, because the losses of the
original and of the moved one are alike; and it is then the original that is off, not what stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from normfold.verify.held import Held

_SUMS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceL1"})


def with_exact_sums(held: Held) -> Held | None:
    """A copy whose float32 reductions compute in float64; None where there is none, or where types are unknown."""
    nodes = list(held.graph.node)
    if not any(node.op_type in _SUMS for node in nodes):
        return None
    kinds = _kinds(held.skeleton)
    if not any(_is_sum(node, kinds) for node in nodes):
        return None
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(held.skeleton)
    del skeleton.graph.node[:]
    skeleton.graph.node.extend(each for node in nodes for each in (_widened(node) if _is_sum(node, kinds) else (node,)))
    return replace(held, skeleton=skeleton)


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of each value of the main graph, as far as known."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _is_sum(node: onnx.NodeProto, kinds: dict[str, int]) -> bool:
    is_sum = node.op_type in _SUMS and node.domain in ("", "ai.onnx")
    return is_sum and kinds.get(node.input[0]) == TensorProto.FLOAT


def _widened(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    entry, result = f"{node.output[0]}::wide_input", f"{node.output[0]}::wide"
    wide = onnx.NodeProto()
    wide.CopyFrom(node)
    wide.input[0], wide.output[0] = entry, result
    yield helper.make_node("Cast", [node.input[0]], [entry], to=TensorProto.DOUBLE)
    yield wide
    yield helper.make_node("Cast", [result], [node.output[0]], to=TensorProto.FLOAT)
