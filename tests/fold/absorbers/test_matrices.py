"""Gemm, MatMul and Einsum with a constant side."""

from __future__ import annotations

from tests.fold.rows import BN4, BN8, Folds, Refuses, back, every

BACKWARD = {
    "gemm": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] b, {BN8}> "
        "{ c = Gemm(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm transB, alpha, beta": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[8,4] w, float[8] b, {BN8}> "
        "{ c = Gemm<transB=1, alpha=0.5, beta=-2.0>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "matmul of which one column of three is faint then": Folds(
        "(float[N,2,2] x) => (float[N,2,3] y) <float[2,3] w, float[3] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
        values={"w": (1, 1, 1, 1, 1, 1), "k": (1e-22, 1, 1)},
    ),
    "gemm of which most rows are faint then, next to their biases": Folds(
        "(float[N,1] x) => (float[N,3] y) <float[3,1] w, float[3] b, float[3] k> "
        "{ c = Gemm<transB=1>(x, w, b) y = Mul(c, k) }",
        "Gemm",
        values={"w": (1, 1, 1), "b": (1e10, 1e10, 1), "k": (1e-22, 1e-22, 1)},
    ),
    "gemm transA": Folds(
        f"(float[4,3] x) => (float[3,8] y) <float[4,8] w, float[1,8] b, {BN8}> "
        "{ c = Gemm<transA=1>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm without C": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[8,4] w, {BN8}> "
        "{ c = Gemm<transB=1, alpha=3.0>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm with C of one column": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,1] b, {BN8}> "
        "{ c = Gemm(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm with a whole C": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,8] b, {BN8}> "
        "{ c = Gemm<beta=0.5>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm with a scalar C": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float b = {{0.7}}, {BN8}> "
        "{ c = Gemm(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm with beta 0": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] b, {BN8}> "
        "{ c = Gemm<beta=0.0>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "gemm with the weight on the left": Folds(
        "(float[4,5] x) => (float[8,5] y) <float[8,4] w, float[5] b, float[8,1] k, float[8,1] t> "
        "{ c = Gemm(w, x, b) d = Mul(c, k) y = Add(d, t) }",
        "Gemm",
    ),
    "gemm with the transposed weight on the left": Folds(
        "(float[5,4] x) => (float[8,5] y) <float[4,8] w, float[8,1] k, float[8,1] t> "
        "{ c = Gemm<transA=1, transB=1, alpha=2.0>(w, x) d = Mul(c, k) y = Add(d, t) }",
        "Gemm",
    ),
    "matmul becomes a gemm for the shift": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, {BN8}> "
        "{ c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "matmul at rank 2, scale only, stays a matmul": Folds(
        "(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] k> { c = MatMul(x, w) y = Div(c, k) }", "MatMul"
    ),
    "matmul and bias and scale at rank 3": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b, float[8] k> "
        "{ c = MatMul(x, w) d = Add(c, b) y = Mul(d, k) }",
        "MatMul Add",
    ),
    "matmul with the weight on the left": Folds(
        f"(float[N,4,5] x) => (float[N,8,5] y) <float[8,4] w, {BN8}> "
        "{ c = MatMul(w, x) y = BatchNormalization(c, g, be, m, var) }",
        "MatMul Add",
    ),
    "matmul with a batched weight": Folds(
        "(float[N,3,5,4] x) => (float[N,3,5,8] y) <float[3,4,8] w, float[3,1,8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a batched weight that makes the rank": Folds(
        "(float[5,4] x) => (float[3,5,8] y) <float[3,4,8] w, float[3,1,1] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a weight of size 1 in a batch axis": Folds(
        "(float[N,3,5,4] x) => (float[N,3,5,8] y) <float[1,1,4,8] w, float[8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a vector on the right, scalar scale": Folds(
        "(float[N,5,4] x) => (float[N,5] y) <float[4] w, float k = {-0.5}> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul with a vector on the left, scalar scale": Folds(
        "(float[N,4,5] x) => (float[N,5] y) <float[4] w, float k = {3.0}> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a vector with a matrix": Folds(
        "(float[4] x) => (float[8] y) <float[4,8] w, float[8] k> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a matrix with a vector": Folds(
        "(float[4] x) => (float[8] y) <float[8,4] w, float[8] k> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a vector with a batch of matrices": Folds(
        "(float[4] x) => (float[3,8] y) <float[3,4,8] w, float[3,8] k> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a batch of matrices with a vector": Folds(
        "(float[4] x) => (float[3,8] y) <float[3,8,4] w, float[3,8] k> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    "weights behind a Transpose in a Gemm": Folds(
        f"(float[N,3] x) => (float[N,4] y) <float[4,3] v, {BN4}> "
        "{ w = Transpose<perm=[1,0]>(v) c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Gemm",
    ),
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,8,5] y) <float[4,8] w, float[8,1] k> "
        '{ c = Einsum<equation="bij,jo->boi">(x, w) y = Mul(c, k) }',
        "Einsum",
    ),
    "einsum and a shift": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] k, float[8] t> "
        '{ c = Einsum<equation="bij,jo->bio">(x, w) d = Mul(c, k) y = Add(d, t) }',
        "Einsum Add",
    ),
}
FORWARD = {
    "a Gemm that ONNX Runtime fused with any activation": Folds(
        "(float[N,8] x) => (float[N,6] y) <float[8,6] w, float[6] b, float[8] k, float[8] t>"
        '{ m = Mul(x, k) a = Add(m, t) y = com.microsoft.FusedGemm<activation="Tanh">(a, w, b) }',
        "FusedGemm",
        "forward",
        domains='"com.microsoft":1',
    ),
    "gemm": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[8,4] w, float[4] b> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Gemm(c, w, b) }",
        "Gemm",
        "forward",
    ),
    "gemm transB, alpha, beta": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[4,8] w, float[4] b> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Gemm<transB=1, alpha=-0.5, beta=3.0>(c, w, b) }",
        "Gemm",
        "forward",
    ),
    "gemm transA without C": Folds(
        "(float[8,3] x) => (float[3,4] y) <float[8,1] k, float[8,1] t, float[8,4] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<transA=1>(d, w) }",
        "Gemm",
        "forward",
    ),
    "gemm with the weight on the left": Folds(
        "(float[8,3] x) => (float[4,3] y) <float[8,1] k, float[8,1] t, float[4,8] w, float[3] b> "
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<alpha=2.0>(w, d, b) }",
        "Gemm",
        "forward",
    ),
    "gemm with the weight on the left, both transposed": Folds(
        "(float[3,8] x) => (float[4,3] y) <float[8] k, float[8] t, float[8,4] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<transA=1, transB=1>(w, d) }",
        "Gemm",
        "forward",
    ),
    "matmul becomes a gemm": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[8,4] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = MatMul(c, w) }",
        "Gemm",
        "forward",
    ),
    "matmul and its bias": Folds(
        "(float[N,5,8] x) => (float[N,5,4] y) <float[8] k, float[8] t, float[8,4] w, float[4] b> "
        "{ c = Mul(x, k) d = Add(c, t) e = MatMul(d, w) y = Add(e, b) }",
        "MatMul Add",
        "forward",
        kept="y",
    ),
    "a norm before a matmul leaves an add behind it": Folds(
        f"(float[N,8,5] x) => (float[N,4,5] y) <{BN8}, float[4,8] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = MatMul(w, c) }",
        "MatMul Add",
        "forward",
    ),
    "matmul with a batched weight": Folds(
        "(float[N,3,5,8] x) => (float[N,3,5,4] y) <float[8] k, float[8] t, float[3,8,4] w, "
        "float[3,1,4] b> "
        "{ c = Mul(x, k) d = Add(c, t) e = MatMul(d, w) y = Add(e, b) }",
        "MatMul Add",
        "forward",
        kept="y",
    ),
    "matmul with a vector on the right": Folds(
        "(float[N,5,8] x) => (float[N,5] y) <float[8] k, float[8] t, float[8] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul with a vector on the left": Folds(
        "(float[N,8,5] x) => (float[N,5] y) <float[8,1] k, float[8,1] t, float[8] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of two vectors": Folds(
        "(float[8] x) => (float y) <float[8] k, float[8] t, float[8] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of two vectors, the weight on the left": Folds(
        "(float[8] x) => (float y) <float[8] k, float[8] t, float[8] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of a vector with a batch of matrices": Folds(
        "(float[8] x) => (float[3,4] y) <float[8] k, float[8] t, float[3,8,4] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of a batch of matrices with a vector": Folds(
        "(float[8] x) => (float[3,4] y) <float[8] k, float[8] t, float[3,4,8] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[4] k> "
        '{ c = Mul(x, k) y = Einsum<equation="bij,jo->bio">(c, w) }',
        "Einsum",
        "forward",
    ),
}
REFUSES = {
    "a shift that float16 cannot hold": Refuses(
        "(float16[2,5,4] x) => (float16[2,5,2] y) <float16[4,2] w, float16[4] t>{ c = Add(x, t) y = MatMul(c, w) }",
        "NF115 y, NF118 c",
        values={"w": (6e4,) * 8, "t": (1, 1, 1, 1)},
    ),
    "an affine of the rows of a Gemm that ONNX Runtime fused": Refuses(
        "(float[5,8] x) => (float[5,6] y) <float[8,6] w, float[6] b, float[5,1] k>"
        '{ c = Mul(x, k) y = com.microsoft.FusedGemm<activation="Relu">(c, w, b) }',
        "NF111 y, NF118 c",
        site="c",
        domains='"com.microsoft":1',
    ),
    "gemm with two variables": Refuses(
        f"(float[N,4] x, float[4,8] w) => (float[N,8] y) <{BN8}> "
        "{ c = Gemm(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF118 c, NF104 y",
    ),
    "gemm and a scale of its rows": Refuses(
        "(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,1] k> { c = Gemm(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "gemm and a scale of the rows it reads": Refuses(
        "(float[3,8] x) => (float[3,4] y) <float[8,4] w, float[3,1] k> { c = Mul(x, k) y = Gemm(c, w) }",
        "NF111 y, NF118 c",
        site="c",
    ),
    "matmul with two variables": Refuses(
        "(float[N,5,4] x, float[N,4,8] w) => (float[N,5,8] y) <float[5,8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "batchnorm on the wrong axis of a matmul": Refuses(
        f"(float[N,8,4] x) => (float[N,8,5] y) <float[4,5] w, {BN8}> "
        "{ c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF111 c, NF104 y",
    ),
    "batchnorm on the wrong axis of a square matmul": Refuses(
        f"(float[N,8,8] x) => (float[N,8,8] y) <float[8,8] w, {BN8}> "
        "{ c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF111 c, NF104 y",
    ),
    "batchnorm before a matmul on an axis that is not summed": Refuses(
        f"(float[N,8,8] x) => (float[N,8,5] y) <float[8,5] w, {BN8}> "
        "{ c = BatchNormalization(x, g, be, m, var) y = MatMul(c, w) }",
        "NF111 y, NF118 c",
        site="c",
    ),
    "matmul with a vector and a scale of the rest": Refuses(
        "(float[N,5,4] x) => (float[N,5] y) <float[4] w, float[5] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "a lone bias of a matmul": Refuses(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b> { c = MatMul(x, w) y = Add(c, b) }",
        "NF121 c, NF104 y",
    ),
    "a norm on the wrong axis of a MatMul": Refuses(
        f"(float[N,4,3] x) => (float[N,4,4] y) <float[3,4] w, {BN4}> "
        "{ c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF111 c, NF104 y",
    ),
    "a column of weights that would become subnormal": Refuses(
        "(float16[N,1] x) => (float16[N,2] y) <float16[1,2] w, float16[2] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "a row of a transposed Gemm that would become subnormal": Refuses(
        "(float16[N,1] x) => (float16[N,2] y) <float16[2,1] w, float16[2] k> "
        "{ c = Gemm<transB=1>(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "most columns would be faint": Refuses(
        "(float[N,2,2] x) => (float[N,2,3] y) <float[2,3] w, float[3] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (1, 1, 1, 1, 1, 1), "k": (1e-22, 1e-22, 1)},
    ),
    "most columns would be faint, and the bias is no reason for the scale": Refuses(
        "(float[N,2,2] x) => (float[N,2,3] y) <float[2,3] w, float[3] b, float[3] k> "
        "{ c = MatMul(x, w) d = Add(c, b) y = Mul(d, k) }",
        "NF115 c, NF104 y, NF121 c",
        values={"w": (1, 1, 1, 1, 1, 1), "b": (1, 2, 3), "k": (1e-22, 1e-22, 1)},
    ),
    "most rows of a transposed Gemm would be faint": Refuses(
        "(float[N,1] x) => (float[N,3] y) <float[3,1] w, float[3] b, float[3] k> "
        "{ c = Gemm<transB=1>(x, w, b) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (1, 1, 1), "b": (1, 0, 1), "k": (1e-22, 1e-22, 1)},
    ),
    "a bias that would be infinite": Refuses(
        "(float[N,2] x) => (float[N,2] y) <float[2] t, float[2,2] w> { a = Add(x, t) y = MatMul(a, w) }",
        "NF116 a, NF118 a",
        values={"t": (1e30, 1.0), "w": (10000000000.0, 1.0, 1.0, 1.0)},
    ),
    "Einsum: a scale along the last axis": Refuses(
        back(
            "N,4,6,3",
            'd = Einsum<equation="ncij,ncjk->ncik">(c, z) y = Mul(d, kw)',
            "float[3] kw",
            more=", float[N,4,6,3] z",
        ),
        "NF118 d, NF104 y",
    ),
    "Einsum: a scale along an axis of which the weight has one": Refuses(
        "(float[N,4] x) => (float[N,5] y) <float[4] k, float[1,5] w> { c = Mul(x, k) y = "
        'Einsum<equation="ij,jk->ik">(c, w) }',
        "NF111 y, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
