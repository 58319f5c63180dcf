"""Shapes behind ONNX Runtime's own operators, found by operators of the standard that stand in for them."""

from __future__ import annotations

import pytest

from normfold.operators.runtime_shapes import with_stand_ins
from normfold.operators.shape_inference import infer_shapes
from tests.onnx_text import parse

MS = '"com.microsoft":1'
NORM = "float[8] g, float[8] b"
SHAPES = {
    "a norm of a sum": ("com.microsoft.SkipLayerNormalization(x, x, g, b)", NORM, [None, 5, 8]),
    "four bits": (
        "com.microsoft.MatMulNBits<K=8, N=6, bits=4, block_size=16>(x, q, k)",
        "uint8[6,1,8] q, float[6] k",
        6,
    ),
    "integers by columns": ("com.microsoft.DynamicQuantizeMatMul(x, q, k)", "int8[8,6] q, float k", 6),
    "a product with an activation": ("com.microsoft.FusedMatMul<transB=1>(x, w)", "float[6,8] w", 6),
    "a product of two values": ("com.microsoft.FusedMatMul<transB=1>(x, x)", NORM, [None, 5, 5]),
    "rows of a table of four bits": (
        "com.microsoft.GatherBlockQuantized<bits=4, block_size=16>(q, i, k)",
        "uint8[9,16] q, int64[2,5] i, float[9,2] k",
        [2, 5, 32],
    ),
    "a mean of integers": (
        "com.microsoft.QLinearGlobalAveragePool(q, k, z, k, z)",
        "uint8[2,3,4,4] q, float k, uint8 z",
        [2, 3, 1, 1],
    ),
    "windows of integers": (
        "com.microsoft.QLinearAveragePool<kernel_shape=[2, 2], strides=[2, 2]>(q, k, z, k, z)",
        "uint8[2,3,4,4] q, float k, uint8 z",
        [2, 3, 2, 2],
    ),
    "integers in a row": (
        "com.microsoft.QLinearConcat<axis=1>(k, z, q, k, z, q, k, z)",
        "uint8[2,3,4] q, float k, uint8 z",
        [2, 6, 4],
    ),
    "attention": (
        "com.microsoft.Attention<num_heads=2>(x, w, b)",
        "float[8,12] w, float[12] b",
        [None, 5, 4],
    ),
    "attention of three": ("com.microsoft.MultiHeadAttention<num_heads=2>(x, x, x)", NORM, [None, 5, 8]),
    "heads in groups": (
        "com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(x, x, x, , , l, l)",
        "int32[1] l",
        [None, 5, 8],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    call, weights, expected = SHAPES[name]
    model = parse(f"(float[N,5,8] x) => (float[N,5,M] y) <{weights}> {{ s = {call} y = Relu(s) }}", domains=MS)
    del model.graph.value_info[:]
    inferred = infer_shapes(model)
    known = {value.name: value.type.tensor_type for value in inferred.graph.value_info}
    sizes = expected if isinstance(expected, list) else [None, 5, expected]
    assert [dim.dim_value or None for dim in known["s"].shape.dim] == sizes
    assert list(inferred.graph.node) == list(model.graph.node)
    assert [value.name for value in inferred.graph.input] == ["x"]


def test_shapes_behind_what_a_weight_tells() -> None:
    """The rank of x is in a run only; behind the first convolution it is known, and behind those that follow."""
    model = parse(
        "(float[N,3,H,W] a, int64[K] t) => (float[N,6,J,I] y) <float[5,3,1,1] v, float[6,5,1,1] w>"
        '{ x = Reshape(a, t) c = Conv(x, v) s = com.microsoft.FusedConv<activation="Relu">(c, w) y = Relu(s) }',
        domains=MS,
    )
    del model.graph.value_info[:]
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert [dim.dim_value for dim in known["s"].shape.dim] == [0, 6, 0, 0]


def test_types_of_products_of_integers() -> None:
    model = parse(
        "(uint8[N,8] x) => (float[N,6] y) <int8[8,6] q, float k, uint8 z = {0}, int8 zq = {0}>"
        "{ s = com.microsoft.QGemm(x, k, z, q, k, zq) t = com.microsoft.MatMulIntegerToFloat(x, q, k, k, z, zq)"
        " i = com.microsoft.QGemm(x, k, z, q, k, zq, , k, z) y = Add(s, t) }",
        domains=MS,
    )
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert [known[name].elem_type for name in "sti"] == [1, 1, 2]
    assert all([dim.dim_value for dim in known[name].shape.dim] == [0, 6] for name in "sti")


@pytest.mark.parametrize(("operator", "opset"), [("SimplifiedLayerNormalization", 17), ("LayerNormalization", 12)])
def test_norms_of_the_runtime_in_the_standard_domain(operator: str, opset: int) -> None:
    model = parse("(float[N,5,8] x) => (float[N,5,M] y) <float[8] g> { s = LayerNormalization(x, g) y = Relu(s) }")
    model.graph.node[0].op_type = operator
    model.opset_import[0].version = opset
    del model.graph.value_info[:]
    (known,) = infer_shapes(model).graph.value_info
    assert [dim.dim_value or None for dim in known.type.tensor_type.shape.dim] == [None, 5, 8]


def test_a_model_without_any_is_not_copied() -> None:
    assert with_stand_ins(parse("(float[N] x) => (float[N] y) { y = Relu(x) }")) is None


def test_shapes_behind_operators_of_the_first_converters() -> None:
    model = parse(
        "(float[N,3,8,9] x) => (float[N,3,M,K] y) { a = ImageScaler<scale=2.0, bias=[1.0, 2.0, 3.0]>(x)"
        " s = Crop<border=[1, 2, 3, 0]>(a) y = Relu(s) }",
        opset=7,
    )
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert [dim.dim_value for dim in known["s"].shape.dim] == [0, 3, 6, 5]
