"""Parallel branches of one input become one, whose weight is the sum of theirs."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from normfold.fold.cleanup.tidy import tidy
from normfold.fold.engine import fold_affines
from tests.fold.rows import Folds, every, model_of, operators

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
    "a depthwise branch next to one with two groups": Folds(
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
    "an average pool next to a convolution": Folds(
        "(float[N,4,6,6] x) => (float[N,4,5,5] y) <float[4,4,2,2] w>"
        "{ a = AveragePool<kernel_shape=[2,2]>(x) c = Conv(x, w) y = Add(a, c) }",
        "Conv",
        "branches",
    ),
    "a value, itself again and its opposite, and a shift": Folds(
        "(float[N,6] x) => (float[N,6] y) <float t = {3}> { c = Sub(t, x) d = Sum(x, x, c) y = Sigmoid(d) }",
        "Add Sigmoid",
        "branches",
        kept="c",
    ),
    "two sums in a row, of which the second meets what the first has written": Folds(
        "(float[N,5,4] x) => (float[N,5,4] y) <float t, float[4,4] w, float[4] b> "
        "{ c = Add(x, t) d = MatMul(c, w) e = Add(d, b) f = Sum(x, c, e) y = Relu(f) }",
        "MatMul Add Relu",
        "branches forward",
    ),
}
STAYS = {
    "offsets that only a larger kernel has": (
        "(float[N,16,6,6] x) => (float[N,16,3,3] y) <float[16,16,2,2] w, float[16,16,2,2] v>"
        "{ a = Conv<strides=[2,2]>(x, w) c = Conv<pads=[0,0,1,1], strides=[2,2], dilations=[2,2]>(x, v) y = Add(a, c) }"
    ),
    "an identity next to a convolution of stride two": (
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


test_merges = every(MERGES)


@pytest.mark.parametrize("name", STAYS)
def test_branches_that_stay(name: str) -> None:
    model = model_of(Folds(STAYS[name], ""))
    inside = ir.from_proto(model)
    assert not fold_affines(inside)
    tidy(inside)
    assert operators(ir.to_proto(inside)) == operators(model)
