"""Parallel branches, the constant channel, quantized weights, linear models: folds that change more than one weight."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from normfold.fold.cleanup.tidy import tidy
from normfold.fold.engine import FoldOptions, fold_affines
from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses, model_of, operators
from tests.onnx_text import assert_close, feeds_of, run_in_float64, run_in_ort, widened

BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
SAME = "(float[N,4,6,6] x) => (float[N,4,6,6] y)"
NORM_X = "BatchNormalization(x, g, be, m, var)"

MERGES = {
    "RepVGG: 3x3, 1x1 and identity, each with a norm": Folds(
        f"{SAME} <float[4,4,3,3] w, float[4,4,1,1] v, {BN4}, float[4] g2, float[4] be2, float[4] m2, float[4] var2>"
        "{ a = Conv<pads=[1,1,1,1]>(x, w) b = BatchNormalization(a, g, be, m, var) c = Conv(x, v)"
        f" d = BatchNormalization(c, g2, be2, m2, var2) e = {NORM_X} f = Add(b, d) s = Add(f, e) y = Relu(s) }}",
        "Conv Relu",
        "backward branches",
    ),
    "MobileOne: depthwise 3x3, 1x1 and identity": Folds(
        f"{SAME} <float[4,1,3,3] w, float[4,1,1,1] v, float[4] b, {BN4}>"
        "{ a = Conv<pads=[1,1,1,1], group=4>(x, w) c = Conv<group=4>(x, v, b)"
        f" e = {NORM_X} f = Add(a, c) y = Add(f, e) }}",
        "Conv",
        "branches",
    ),
    "a depthwise branch beside one with two groups": Folds(
        f"{SAME} <float[4,2,3,3] w, float[4,1,3,3] v, float[4] b>"
        "{ a = Conv<pads=[1,1,1,1], group=2>(x, w) c = Conv<pads=[1,1,1,1], group=4>(x, v, b) y = Add(a, c) }",
        "Conv",
        "branches",
    ),
    "a value and its depthwise convolution": Folds(
        f"{SAME} <float[4,1,3,3] w> {{ a = Conv<pads=[1,1,1,1], group=4>(x, w) y = Add(x, a) }}", "Conv", "branches"
    ),
    "a value minus its convolution": Folds(
        f"{SAME} <float[4,4,3,3] w, float[4] b> {{ a = Conv<pads=[1,1,1,1]>(x, w, b) y = Sub(x, a) }}",
        "Conv",
        "branches",
    ),
    "strides of two, kernels of three and one": Folds(
        "(float[N,4,7,7] x) => (float[N,5,4,4] y) <float[5,4,3,3] w, float[5,4,1,1] v>"
        "{ a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w) c = Conv<strides=[2,2]>(x, v) y = Add(a, c) }",
        "Conv",
        "branches",
    ),
    "pads on one side only": Folds(
        "(float[N,4,7] x) => (float[N,5,7] y) <float[5,4,3] w, float[5,4,2] v>"
        "{ a = Conv<pads=[2,0]>(x, w) c = Conv<pads=[1,0]>(x, v) y = Add(a, c) }",
        "Conv",
        "branches",
    ),
    "three of four addends": Folds(
        "(float[N,4,6,6] x, float[N,4,6,6] z) => (float[N,4,6,6] y) <float[4,4,1,1] w, float[4,4,1,1] v>"
        "{ a = Conv(x, w) c = Conv(x, v) f = Add(a, z) h = Sub(f, c) y = Add(h, x) }",
        "Conv Add",
        "branches",
    ),
    "two matrix products with biases and the value itself": Folds(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4,4] w, float[4,4] v, float[4] b>"
        "{ a = MatMul(x, w) c = MatMul(x, v) d = Add(c, b) f = Sub(a, d) y = Add(f, x) }",
        "MatMul Add",
        "branches",
    ),
    "two gemms": Folds(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] w, float[3] b, float[3,4] v>"
        "{ a = Gemm<alpha=2.0>(x, w, b) c = Gemm<transB=1>(x, v) y = Add(a, c) }",
        "Gemm",
        "branches",
    ),
    "a norm and the value itself": Folds(
        f"{SAME} <{BN4}> {{ a = {NORM_X} y = Add(a, x) }}", "BatchNormalization", "branches", kept="a"
    ),
    "an average pool beside a convolution": Folds(
        "(float[N,4,6,6] x) => (float[N,4,5,5] y) <float[4,4,2,2] w>"
        "{ a = AveragePool<kernel_shape=[2,2]>(x) c = Conv(x, w) y = Add(a, c) }",
        "Conv",
        "branches",
    ),
}
STAYS = {
    "offsets that only a larger kernel has": (
        "(float[N,16,6,6] x) => (float[N,16,3,3] y) <float[16,16,2,2] w, float[16,16,2,2] v>"
        "{ a = Conv<strides=[2,2]>(x, w) c = Conv<pads=[0,0,1,1], strides=[2,2], dilations=[2,2]>(x, v) y = Add(a, c) }"
    ),
    "an identity beside a convolution of stride two": (
        "(float[N,4,1,1] x) => (float[N,4,1,1] y) <float[4,4,1,1] w> { a = Conv<strides=[2,2]>(x, w) y = Add(a, x) }"
    ),
    "a branch that is an output": (
        "(float[N,4,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] a) <float[4,4,1,1] w, float[4,4,1,1] v>"
        "{ a = Conv(x, w) c = Conv(x, v) y = Add(a, c) }"
    ),
    "a branch that is broadcast": (
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,4,6,6] w, float[4,4,1,1] v>"
        "{ a = Conv(x, w) c = Conv(x, v) y = Add(a, c) }"
    ),
    "two depthwise branches whose sum would be larger": (
        "(float[N,4,9,9] x) => (float[N,4,9,9] y) <float[4,1,1,9] w, float[4,1,9,1] v>"
        "{ a = Conv<pads=[0,4,0,4], group=4>(x, w) c = Conv<pads=[4,0,4,0], group=4>(x, v) y = Add(a, c) }"
    ),
    "two kinds of pool": (
        "(float[N,4,6,6] x) => (float[N,4,5,5] y)"
        "{ a = AveragePool<kernel_shape=[2,2]>(x) c = MaxPool<kernel_shape=[2,2]>(x) y = Add(a, c) }"
    ),
}
WIDE = (
    "(float[N,3,6,6] x) => (float[N,{count},6,6] y) <float[{count},3,1,1] w, float[{count}] b, float[{count}] g,"
    "float[{count}] be, float[{count}] m, float[{count}] var, float[{count},{count},3,3] v>"
    "{{ c = Conv(x, w, b) d = Relu(c) e = BatchNormalization(d, g, be, m, var) y = Conv<pads=[1,1,1,1]>(e, v) }}"
)
QUANTIZED = (
    "(float[N,4,6,6] x) => (float[N,3,6,6] y) <int8[3,4,1,1] q, {scale}, {zero}, float[3] b, {norm}>"
    "{{ w = DequantizeLinear<axis=0>(q, s, z) c = Conv(x, w, b) {last} }}"
)
BN3 = "float[3] pos, float[3] be, float[3] m, float[3] var"
LAST = "y = BatchNormalization(c, pos, be, m, var)"
INT8 = {"q": tuple(range(-6, 6))}
OTHERS = {
    "a shift through zero padding, by one more channel": Folds(WIDE.format(count=5), "Conv Relu Conv", "forward"),
    "a quantized weight with one scale": Folds(
        QUANTIZED.format(scale="float s = {0.02}", zero="int8 z = {3}", norm=BN3, last=LAST),
        "DequantizeLinear Conv",
        values=INT8,
    ),
    "a quantized weight with a scale by channel": Folds(
        QUANTIZED.format(scale="float[3] s = {0.02, 0.1, 3}", zero="int8[3] z = {3, 0, -1}", norm=BN3, last=LAST),
        "DequantizeLinear Conv",
        values=INT8,
    ),
    "a quantized Gemm whose bias has two dimensions": Folds(
        "(float[N,4] x) => (float[N,3] y) <int8[4,3] q, float s = {0.02}, float[1,3] b, float[3] pos, float[3] t>"
        "{ w = DequantizeLinear(q, s) c = Gemm(x, w, b) d = Mul(c, pos) y = Add(d, t) }",
        "DequantizeLinear Gemm",
        values=INT8,
    ),
    "a scaler before a linear regression": Folds(
        "(float[N,3] x) => (float[N,2] y) {"
        " c = ai.onnx.ml.Scaler<offset=[1.0, 2.0, -3.0], scale=[0.5, -2.0, 4.0]>(x)"
        " y = ai.onnx.ml.LinearRegressor<coefficients=[1.0, 2.0, 3.0, -4.0, 5.0, -6.0], intercepts=[1.0, -2.0],"
        " targets=2>(c) }",
        "LinearRegressor",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
}
REFUSES = {
    "a quantized weight with the lowest number, and a negative scale": Refuses(
        QUANTIZED.format(scale="float s = {0.02}", zero="int8 z = {0}", norm="float[3,1,1] k", last="y = Neg(c)"),
        "NF120 w, NF104 y",
        values={"q": (-128, *range(11))},
    ),
    "a quantized weight that two read": Refuses(
        "(float[N,4] x, float[N,4] u) => (float[N,3] y, float[N,3] z) <int8[4,3] q, float s = {0.02}, float[3] pos>"
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) z = MatMul(u, w) }",
        "NF103 w, NF104 y",
        values=INT8,
    ),
    "a batch of quantized matrices": Refuses(
        "(float[2,5,3] x) => (float[2,5,3] y) <int8[2,3,3] q, float s = {0.02}, float[3] pos>"
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "NF120 c, NF104 y",
        values={"q": tuple(range(-9, 9))},
    ),
    "one more channel would start a new block": Refuses(WIDE.format(count=8), "NF108 d, NF107 y", site="e"),
}


@pytest.mark.parametrize("name", MERGES)
def test_merges(name: str) -> None:
    assert_folds(MERGES[name])


@pytest.mark.parametrize("name", STAYS)
def test_branches_that_stay(name: str) -> None:
    model = model_of(Folds(STAYS[name], ""))
    inside = ir.from_proto(model)
    assert not fold_affines(inside)
    tidy(inside)
    assert operators(ir.to_proto(inside)) == operators(model)


@pytest.mark.parametrize("name", OTHERS)
def test_folds(name: str) -> None:
    assert_folds(OTHERS[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])


ON_DEMAND = {
    "gamma and beta go into all that read": (
        "(float[N,5,4] x) => (float[N,5,3] y, float[N,5,2] z) <float[4] ga, float[4] ba, float[4,3] w, float[3] b,"
        "float[4,2] v, float[2] u> { c = LayerNormalization(x, ga, ba) d = MatMul(c, w) y = Add(d, b)"
        " e = MatMul(c, v) z = Add(e, u) }",
        FoldOptions(norm_affine=True),
        {"ones": 4},
    ),
    "one more channel, although it starts a new block": (
        WIDE.format(count=8),
        FoldOptions(extra_channel=True),
        {"channels": 9},
    ),
}


@pytest.mark.parametrize("name", ON_DEMAND)
def test_on_demand(name: str) -> None:
    """Done only when asked for, and then as exactly as everything else."""
    text, options, sizes = ON_DEMAND[name]
    model = model_of(Folds(text, ""))

    def folded(original: onnx.ModelProto) -> onnx.ModelProto:
        inside = ir.from_proto(original)
        fold_affines(inside, options)
        tidy(inside)
        return ir.to_proto(inside)

    result = folded(model)
    onnx.checker.check_model(result, full_check=True)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    if "ones" in sizes:
        (norm,) = (node for node in result.graph.node if node.op_type == "LayerNormalization")
        assert len(norm.input) == 2 and (weights[norm.input[1]] == 1).all()
    else:
        assert "BatchNormalization" not in operators(result)
        assert max(array.shape[0] for array in weights.values()) == sizes["channels"]
    feeds, names = feeds_of(model), [value.name for value in model.graph.output]
    wide = widened(model)
    assert_close(run_in_float64(folded(wide), feeds), run_in_float64(wide, feeds), note="in float64")
    assert_close(run_in_ort(result, feeds, names), run_in_ort(model, feeds, names), note="in ONNX Runtime")
