"""The same model with its sums and affine steps taken in float64: how far its own are from right.

A reduction that strides through memory adds one number after another, and over some thousand elements loses more
digits than an operator that sums by blocks. A norm takes the difference of two large numbers where a channel is dead,
and divides the rounding of a mean by the root of its epsilon where all elements are equal.
Moving weights and inputs does not show that where the losses of the original and of the moved one are equal; and it is
then the original that is off, not what stands in its place: nothing else shows that the fold is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx
import onnx.parser
from onnx import TensorProto, helper

from normfold.operators.table import REDUCTION_AXES_ARE_INPUTS, is_standard
from normfold.runtime.loaded_model import LoadedModel

_SUMS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceL1"})
_STEPS = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
_NORMS = frozenset({"LayerNormalization", "GroupNormalization", "InstanceNormalization"})
_EXACT = _SUMS | _STEPS | _NORMS


def with_exact_sums(model: LoadedModel) -> LoadedModel | None:
    """Return a copy whose float32 reductions, norms and arithmetic compute in float64.

    It is None where there is none of these, or where types are unknown.
    """
    nodes = list(model.graph.node)
    if not any(node.op_type in _EXACT for node in nodes):
        return None
    kinds = _kinds(model.skeleton)
    if not any(_is_exact(node, kinds) for node in nodes):
        return None
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    del skeleton.graph.node[:]
    wide: dict[str, str] = {}
    version = next(opset.version for opset in skeleton.opset_import if opset.domain in ("", "ai.onnx"))
    for node in nodes:
        skeleton.graph.node.extend(_widened(node, wide, version) if _is_exact(node, kinds) else (node,))
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
    if node.op_type not in _EXACT or len(node.output) != 1 or not is_standard(node) or not node.input:
        return False
    return all(kinds.get(name) == TensorProto.FLOAT for name in _numbers(node))


def _numbers(node: onnx.NodeProto) -> list[str]:
    """Return the inputs that are numbers, not axes."""
    return list(node.input[:1] if node.op_type in _SUMS else node.input)


def _widened(node: onnx.NodeProto, wide: dict[str, str], version: int) -> Iterator[onnx.NodeProto]:
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
    yield from _instance_norm(copy, version) if node.op_type == "InstanceNormalization" else (copy,)
    yield helper.make_node("Cast", [result], [node.output[0]], to=TensorProto.FLOAT)


def _instance_norm(norm: onnx.NodeProto, version: int) -> Iterator[onnx.NodeProto]:
    """Return an InstanceNormalization as arithmetic: ONNX Runtime has no kernel of it in float64."""
    epsilon = next((found.f for found in norm.attribute if found.name == "epsilon"), 1e-5)
    mean = "ReduceMean<axes = [2]>({})" if version < REDUCTION_AXES_ARE_INPUTS else "ReduceMean({}, last)"
    graph = onnx.parser.parse_graph(
        "norm (double[N] x, double[C] s, double[C] b) => (double[N] y) {"
        "view = Constant<value = int64[3] {0, 0, -1}>() column = Constant<value = int64[2] {-1, 1}>()"
        f"last = Constant<value = int64[1] {{2}}>() epsilon = Constant<value = double {{{epsilon!r}}}>()"
        f"r = Reshape(x, view) m = {mean.format('r')} d = Sub(r, m) p = Mul(d, d) v = {mean.format('p')}"
        "a = Add(v, epsilon) k = Sqrt(a) n = Div(d, k) scale = Reshape(s, column) h = Mul(n, scale)"
        "bias = Reshape(b, column) o = Add(h, bias) l = Shape(x) y = Reshape(o, l) }"
    )
    outside = dict(zip(("x", "s", "b", "y"), (*norm.input, *norm.output), strict=True))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [outside.get(name, f"{norm.output[0]}/{name}") for name in names]
        yield node
