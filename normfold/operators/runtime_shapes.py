"""Shapes behind ONNX Runtime's own operators: for inference, standard operators of the same shapes stand in for them.

Files of onnxruntime-genai, of Olive, and those that ONNX Runtime wrote itself are full of them, and
``onnx.shape_inference`` knows none. Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper

from normfold.operators.table import RUNTIME_DOMAIN, is_standard
from normfold.operators.walk import attribute_value

# What files hold in the standard domain, and the operator set that has it; 0 for what only ONNX Runtime knows: a norm
# that it makes, and operators of the first converters, which were in the standard as experiments.
_OF_FIRST_CONVERTERS = ("Affine", "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh")
_IN_STANDARD_DOMAIN = {
    "LayerNormalization": 17,
    "ThresholdedRelu": 10,
    **dict.fromkeys(("Crop", "SimplifiedLayerNormalization", *_OF_FIRST_CONVERTERS), 0),
}
_MARK = "::stand-in"
_QGEMM_RESULT = 8  # the input that holds the zero point of a result of integers, and its type
_FLOAT: dict[str, Any] = {"to": onnx.TensorProto.FLOAT}


@dataclass(frozen=True)
class StandIn:
    """An operator that reads ``inputs`` and has the shape of ``output``; ``casts`` where it has another type."""

    operator: str
    inputs: tuple[int, ...] = (0,)
    output: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()
    casts: bool = False


_SAME = (StandIn("Identity"),)
_SKIP = (StandIn("Identity"), StandIn("Identity", output=3))
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_STAND_INS: dict[str, tuple[StandIn, ...]] = {
    **dict.fromkeys(
        ("BiasAdd", "BiasGelu", "FastGelu", "Gelu", "GroupNorm", "MoE", "QMoE", "QuickGelu", "RotaryEmbedding"), _SAME
    ),
    **dict.fromkeys(
        ("LayerNormalization", "SimplifiedLayerNormalization", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax"),
        _SAME,
    ),
    **dict.fromkeys((*_OF_FIRST_CONVERTERS, "ThresholdedRelu"), _SAME),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _SKIP),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), (StandIn("Add", (0, 3)),)),
    "DequantizeLinear": (StandIn("CastLike", (0, 1)),),
    "QuantizeLinear": (StandIn("CastLike", (0, 2)),),
    "DynamicQuantizeMatMul": (StandIn("MatMul", (0, 1)),),
    "EmbedLayerNormalization": (StandIn("Gather", (2, 0)),),
    "FusedConv": (StandIn("Conv", (0, 1), keeps=_WINDOW),),
    "FusedGemm": (StandIn("Gemm", (0, 1), keeps=("transA", "transB")),),
    "MatMulIntegerToFloat": (StandIn("MatMulInteger", (0, 1), casts=True),),
    "MultiHeadAttention": (StandIn("Einsum", (0, 2), attributes={"equation": "bsd,ble->bse"}),),
}


def with_stand_ins(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a copy of a model in which standard operators have the shapes of ONNX Runtime's own; None without any."""
    graph = model.graph
    opset = max((each.version for each in model.opset_import if is_standard(each)), default=0)
    wanted = [_is_of_runtime(node, opset) for node in graph.node]
    if not any(wanted):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    for node, is_wanted in zip(graph.node, wanted, strict=True):
        stands = list(_standing_in_for(graph, copy.graph, node)) if is_wanted else []
        copy.graph.node.extend(stands or [node])
    return copy


def without_stand_ins(inferred: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``inferred`` with the operators of ``model`` again."""
    for values in (inferred.graph.value_info, inferred.graph.input):
        kept = [value for value in values if not value.name.endswith(_MARK)]
        del values[:]
        values.extend(kept)
    del inferred.graph.node[:]
    inferred.graph.node.extend(model.graph.node)
    return inferred


def _is_of_runtime(node: onnx.NodeProto, opset: int) -> bool:
    since = _IN_STANDARD_DOMAIN.get(node.op_type) if is_standard(node) else None
    return node.domain == RUNTIME_DOMAIN or (since is not None and not 0 < since <= opset)


def _standing_in_for(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the stand-ins of one operator; weights that they need, of which only the shape counts, become inputs."""
    own = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type in _BY_SHAPE:
        yield from _BY_SHAPE[node.op_type](graph, copy, node)
    for stand in _STAND_INS.get(node.op_type, ()):
        inputs = [node.input[index] for index in stand.inputs if index < len(node.input) and node.input[index]]
        if len(inputs) < len(stand.inputs) or stand.output >= len(node.output) or not node.output[stand.output]:
            continue
        result = node.output[stand.output]
        made = helper.make_node(stand.operator, inputs, [result + _MARK if stand.casts else result], **stand.attributes)
        made.attribute.extend(own[name] for name in stand.keeps if name in own)
        yield made
        if stand.casts:
            yield helper.make_node("Cast", [result + _MARK], [result], **_FLOAT)


def _typed(graph: onnx.GraphProto, name: str) -> onnx.TypeProto.Tensor:
    """Return the type and the sizes of a weight, which is stored or, in a skeleton, an input; none of other values."""
    stored = next((each for each in graph.initializer if each.name == name), None)
    if stored is not None:
        return helper.make_tensor_type_proto(stored.data_type, stored.dims).tensor_type
    return next((each.type.tensor_type for each in graph.input if each.name == name), onnx.TypeProto.Tensor())


def _dims(graph: onnx.GraphProto, name: str) -> list[int]:
    return [dim.dim_value for dim in _typed(graph, name).shape.dim]


def _times(copy: onnx.GraphProto, node: onnx.NodeProto, sizes: Sequence[int | None]) -> Iterator[onnx.NodeProto]:
    """Yield a product of the first input and a matrix of these sizes."""
    weight = f"{node.output[0]}{_MARK}"
    copy.input.append(helper.make_tensor_value_info(weight, onnx.TensorProto.FLOAT, list(sizes)))
    yield helper.make_node("MatMul", [node.input[0], weight], [node.output[0]])


def _in_blocks(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield from _times(copy, node, [attribute_value(node, "K", 0), attribute_value(node, "N", 0)])


def _matmul(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the product of two matrices, either of which may be transposed."""
    if attribute_value(node, "transBatchA", 0) or attribute_value(node, "transBatchB", 0):
        return
    weight = _dims(graph, node.input[1])
    if node.op_type == "FusedMatMul" and len(weight) == 2 and all(weight) and not attribute_value(node, "transA", 0):
        yield from _times(copy, node, weight[::-1] if attribute_value(node, "transB", 0) else weight)
        return
    left, right = (
        ("ji" if attribute_value(node, "transA", 0) else "ij"),
        ("kj" if attribute_value(node, "transB", 0) else "jk"),
    )
    equation = f"...{left},...{right}->...ik"
    of_integers = node.op_type == "QGemm"
    result = node.output[0] + _MARK if of_integers else node.output[0]
    yield helper.make_node("Einsum", [node.input[0], node.input[3 if of_integers else 1]], [result], equation=equation)
    if of_integers and len(node.input) > _QGEMM_RESULT:
        yield helper.make_node("CastLike", [result, node.input[_QGEMM_RESULT]], [node.output[0]])
    elif of_integers:
        yield helper.make_node("Cast", [result], [node.output[0]], **_FLOAT)


def _attention(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the product with the last part of the weight, which makes the values."""
    widths = attribute_value(node, "qkv_hidden_sizes", list[int]())
    weight = _dims(graph, node.input[1])
    if len(weight) == 2 and all(weight):
        yield from _times(copy, node, [weight[0], widths[2] if widths else weight[1] // 3])


def _crop(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a pool whose windows are one larger than the borders (left, top, right, bottom) that go."""
    border = attribute_value(node, "border", list[int]())
    if len(border) == 4 and not any(each.name == "scale" for each in node.attribute):
        left, top, right, bottom = border
        window = [top + bottom + 1, left + right + 1]
        yield helper.make_node("MaxPool", node.input, node.output, kernel_shape=window)


def _gather(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a Gather from the table as its scales have it; bytes of the last axis hold 2, 4 or 8 bits a number."""
    table, sizes = (_typed(graph, name) for name in (node.input[0], node.input[2]))
    if not table.shape.dim:
        return
    dims = [dim.dim_value for dim in table.shape.dim]
    if table.elem_type == onnx.TensorProto.UINT8:
        dims[-1] *= 8 // attribute_value(node, "bits", 4)
    weight = f"{node.output[0]}{_MARK}"
    copy.input.append(helper.make_tensor_value_info(weight, sizes.elem_type, dims))
    yield helper.make_node("Gather", [weight, node.input[1]], node.output, axis=attribute_value(node, "gather_axis", 0))


def _grouped_attention(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the query itself, or, where it is packed with keys and values, a product that has its heads only."""
    if node.input[1]:
        yield helper.make_node("Identity", [node.input[0]], [node.output[0]])
        return
    sizes = _dims(graph, node.input[3]) if len(node.input) > 3 else []
    if len(sizes) == 4 and sizes[3]:
        yield from _times(copy, node, [None, attribute_value(node, "num_heads", 0) * sizes[3]])


def _of_floats(graph: onnx.GraphProto, copy: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the standard's operator of the data alone, without scales and zero points."""
    if attribute_value(node, "channels_last", 0):
        return
    operator = node.op_type.removeprefix("QLinear")
    made = helper.make_node(operator, node.input[2::3] if operator == "Concat" else node.input[:1], node.output)
    made.attribute.extend(each for each in node.attribute if each.name != "channels_last")
    yield made


_ByShape = Callable[[onnx.GraphProto, onnx.GraphProto, onnx.NodeProto], Iterator[onnx.NodeProto]]
_BY_SHAPE: dict[str, _ByShape] = {
    "Attention": _attention,
    "Crop": _crop,
    "FusedMatMul": _matmul,
    "GatherBlockQuantized": _gather,
    "GroupQueryAttention": _grouped_attention,
    "MatMulNBits": _in_blocks,
    "QGemm": _matmul,
    **dict.fromkeys(("QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool"), _of_floats),
}
