"""Operators that ONNX Runtime makes of several take affines as those that they were made of."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, every

MS = '"com.microsoft":1'
X = "(float[N,5,8] x) => (float[N,5,6] y)"
SAME = "(float[N,5,8] x) => (float[N,5,8] y)"
CONV = "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b"
ATTENTION = "com.microsoft.Attention<num_heads=2>"
GEMM = "(float[N,8] x) => (float[N,6] y) <float[8,6] w, float[6] b"


def fused(activation: str) -> str:
    return f'com.microsoft.FusedConv<activation="{activation}">'


BACKWARD = {
    "columns of a product with a factor": Folds(
        f"{X} <float[8,6] w, float[6] k> {{ c = com.microsoft.FusedMatMul<alpha=0.5>(x, w) y = Mul(c, k) }}",
        "FusedMatMul",
        domains=MS,
    ),
    "columns of a transposed weight": Folds(
        f"{X} <float[6,8] w, float[6] k> {{ c = com.microsoft.FusedMatMul<transB=1>(x, w) y = Mul(c, k) }}",
        "FusedMatMul",
        domains=MS,
    ),
    "a norm behind a product": Folds(
        "(float[N,8] x) => (float[N,6] y) <float[8,6] w, float[6] g, float[6] be, float[6] m, float[6] var>"
        "{ c = com.microsoft.FusedMatMul<alpha=0.5>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "FusedMatMul Add",
        domains=MS,
    ),
    "a positive factor behind a convolution and its Relu": Folds(
        f"{CONV}, float[4,1,1] pos> {{ c = {fused('Relu')}(x, w, b) y = Mul(c, pos) }}",
        "FusedConv",
        domains=MS,
    ),
    "a positive factor behind a Gemm and its LeakyRelu": Folds(
        f'{GEMM}, float[6] pos> {{ c = com.microsoft.FusedGemm<activation="LeakyRelu", activation_alpha=0.1>(x, w, b)'
        " y = Mul(c, pos) }",
        "FusedGemm",
        domains=MS,
    ),
}
FORWARD = {
    "rows of a product with a factor": Folds(
        f"{X} <float[8,6] w, float[8] k> {{ a = Mul(x, k) y = com.microsoft.FusedMatMul<alpha=0.5>(a, w) }}",
        "FusedMatMul",
        "forward",
        domains=MS,
    ),
    "a shift before a transposed weight": Folds(
        f"{X} <float[6,8] w, float[8] t, float[6] b>"
        "{ a = Add(x, t) c = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(a, w) y = Add(c, b) }",
        "FusedMatMul Add",
        "forward",
        kept="y",
        domains=MS,
    ),
    "into queries, keys and values": Folds(
        "(float[N,5,8] x) => (float[N,5,4] y) <float[8,12] w, float[12] b, float[8] k, float[8] t>"
        f"{{ m = Mul(x, k) a = Add(m, t) y = {ATTENTION}(a, w, b) }}",
        "Attention",
        "forward",
        domains=MS,
    ),
    "a shift into the bias of an activation": Folds(
        f"{SAME} <float[8] t, float[8] b> {{ a = Add(x, t) y = com.microsoft.BiasGelu(a, b) }}",
        "BiasGelu",
        "forward",
        domains=MS,
    ),
    "a shift into the bias that an activation may have": Folds(
        f"{SAME} <float[8] t> {{ a = Add(x, t) y = com.microsoft.FastGelu(a) }}",
        "FastGelu",
        "forward",
        domains=MS,
    ),
}
REFUSES = {
    "a factor before a FastGelu": Refuses(
        f"{SAME} <float[8] k> {{ c = Mul(x, k) y = com.microsoft.FastGelu(c) }}",
        "NF110 y, NF118 c",
        site="c",
        domains=MS,
    ),
    "a negative factor behind a Gemm and its Relu": Refuses(
        f'{GEMM}, float[6] k> {{ c = com.microsoft.FusedGemm<activation="Relu">(x, w, b) y = Mul(c, k) }}',
        "NF109 c, NF104 y",
        domains=MS,
    ),
    "a negative factor behind a Relu": Refuses(
        f"{CONV}, float[4,1,1] k> {{ c = {fused('Relu')}(x, w, b) y = Mul(c, k) }}", "NF109 c, NF104 y", domains=MS
    ),
    "a shift behind a Relu": Refuses(
        f"{CONV}, float[4,1,1] k> {{ c = {fused('Relu')}(x, w, b) y = Add(c, k) }}", "NF108 c, NF104 y", domains=MS
    ),
    "a factor behind a Tanh": Refuses(
        f"{CONV}, float[4,1,1] pos> {{ c = {fused('Tanh')}(x, w, b) y = Mul(c, pos) }}",
        "NF110 c, NF104 y",
        domains=MS,
    ),
    "a factor behind a convolution that adds another value": Refuses(
        "(float[N,3,6,6] x, float[N,4,6,6] z) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b, float[4,1,1] pos>"
        f"{{ c = {fused('Relu')}(x, w, b, z) y = Mul(c, pos) }}",
        "NF117 c, NF104 y",
        domains=MS,
    ),
    "a factor of the rows of a product": Refuses(
        f"{X} <float[8,6] w, float[5,1] k> {{ c = com.microsoft.FusedMatMul(x, w) y = Mul(c, k) }}",
        "NF111 c, NF104 y",
        domains=MS,
    ),
    "a factor of what is not summed": Refuses(
        f"{X} <float[8,6] w, float[5,1] k> {{ a = Mul(x, k) y = com.microsoft.FusedMatMul(a, w) }}",
        "NF111 y, NF118 a",
        domains=MS,
    ),
    "a factor before a transposed input": Refuses(
        "(float[8,5] x) => (float[5,6] y) <float[8,6] w, float[8,1] k>"
        "{ a = Mul(x, k) y = com.microsoft.FusedMatMul<transA=1>(a, w) }",
        "NF110 y, NF118 a",
        domains=MS,
    ),
    "a weight of three axes": Refuses(
        "(float[2,5,8] x) => (float[2,5,6] y) <float[2,8,6] w, float[6] k>"
        "{ c = com.microsoft.FusedMatMul(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
        domains=MS,
    ),
    "a bias of queries, keys and values out of range": Refuses(
        "(float16[N,5,2] x) => (float16[N,5,2] y) <float16[2,6] w, float16[6] b, float16[2] t>"
        "{ a = Add(x, t) y = com.microsoft.Attention<num_heads=1>(a, w, b) }",
        "NF115 y, NF118 a",
        domains=MS,
        values={"t": (7, 7), "w": (7,) * 12, "b": (65504,) * 6},
    ),
    "a factor before an activation with a bias": Refuses(
        f"{SAME} <float[8] k, float[8] b> {{ a = Mul(x, k) y = com.microsoft.BiasGelu(a, b) }}",
        "NF110 y, NF118 a",
        domains=MS,
    ),
    "a shift by row before an activation with a bias": Refuses(
        f"{SAME} <float[5,1] t, float[8] b> {{ a = Add(x, t) y = com.microsoft.BiasGelu(a, b) }}",
        "NF111 y, NF118 a",
        domains=MS,
    ),
    "a bias out of range": Refuses(
        "(float16[N,5,2] x) => (float16[N,5,2] y) <float16[2] t, float16[2] b>"
        "{ a = Add(x, t) y = com.microsoft.BiasGelu(a, b) }",
        "NF115 y, NF118 a",
        domains=MS,
        values={"t": (7, 7), "b": (65504, 65504)},
    ),
}

test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
