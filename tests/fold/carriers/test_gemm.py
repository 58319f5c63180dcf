"""Gemm with variables: two variable factors, or a variable C. (With one variable factor alone it absorbs.)"""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

REFUSES = {
    "Gemm: a scale along the last axis": Refuses(
        back(
            "4,3",
            "f = Reshape(c, sh) d = Gemm(f, z) y = Mul(d, kw)",
            "float[3] kw, int64[2] sh = {4, 36}",
            more=", float[36,3] z",
        ),
        "NF118 d, NF104 y",
    ),
    "Gemm: a positive scale by channel, forward": Refuses(
        ahead(
            "4,5",
            "f = Reshape(c, sh) d = Gemm(f, z) y = MatMul(d, v)",
            "float[4,1,1] pos, int64[2] sh = {4, 36}, float[3,5] v",
            more=", float[36,3] z",
            first="c = Mul(x, pos)",
        ),
        "NF113 d, NF118 c",
    ),
    "two variable factors, a scale of the rows of B, forward": Refuses(
        "(float[N,3] x, float[3,5] z) => (float[N,4] y) <float[5] k, float[5,4] v> "
        "{ c = Mul(z, k) d = Gemm<alpha=0.5>(x, c) y = MatMul(d, v) }",
        "NF113 d, NF118 c",
    ),
    "two variable factors, a scale that the product sums, forward": Refuses(
        "(float[N,3] x, float[3,5] z) => (float[N,5] y) <float[3] k> { c = Mul(x, k) d = Gemm(c, z) y = Sigmoid(d) }",
        "NF113 d, NF118 c",
    ),
    "a constant C that would leave its range": Refuses(
        "(float[N,3] x, float[3,5] z) => (float[N,5] y) <float[5] b = {1e30, 1, 1, 1, 1}, float k = {1e10}> "
        "{ d = Gemm(x, z, b) y = Mul(d, k) }",
        "NF115 d, NF104 y",
    ),
    "a shift behind a variable C that is not added": Refuses(
        "(float[N,3] x, float[N,5] u) => (float[N,5] y) <float[3,5] w, float[5] t> { d = Gemm<beta=0.0>(x, "
        "w, u) y = Add(d, t) }",
        "NF108 d, NF104 y",
    ),
    "a factor that beta cannot hold": Refuses(
        "(float[N,3] x, float[N,5] u) => (float[N,5] y) <float[3,5] w, float k = {1e10}> { d = "
        "Gemm<beta=1e30>(x, w, u) y = Mul(d, k) }",
        "NF115 d, NF104 y",
    ),
    "a factor that alpha cannot hold": Refuses(
        "(float[N,3] x, float[3,5] z) => (float[N,5] y) <float k = {1e10}> { d = Gemm<alpha=1e30>(x, z) y = "
        "Mul(d, k) }",
        "NF115 d, NF104 y",
    ),
    "a factor that alpha cannot hold, forward": Refuses(
        "(float[N,3] x, float[3,5] z) => (float[N,5] y) <float k = {1e10}> { c = Mul(x, k) y = "
        "Gemm<alpha=1e30>(c, z) }",
        "NF115 y, NF118 c",
    ),
    "a factor that the weight cannot hold, forward": Refuses(
        "(float[N,3] x, float[N,5] u) => (float[N,5] y) <float[3,5] w, float k = {1e38}> { c = Mul(x, k) y = "
        "Gemm(c, w, u) }",
        "NF115 y, NF118 c",
        values={"w": (10000000000.0,) * 15},
    ),
    "a scale by row before a variable C": Refuses(
        "(float[5,3] x, float[5,4] u) => (float[5,4] y) <float[5,1] k, float[3,4] w> { c = Mul(x, k) y = "
        "Gemm(c, w, u) }",
        "NF111 y, NF118 c",
    ),
    "two variable factors, a scale by row and column": Refuses(
        "(float[4,3] x, float[3,5] z) => (float[4,5] y) <float[4,5] k> { d = Gemm(x, z) y = Mul(d, k) }",
        "NF111 d, NF104 y",
    ),
}
BACKWARD = {
    "two variable factors, a factor": Folds(
        "(float[N,3] x, float[8,5] z) => (float[N,5] y) <float[3,8] w, float k = {-2}> "
        "{ c = MatMul(x, w) d = Gemm(c, z) y = Mul(d, k) }",
        "MatMul Gemm",
    ),
    "two variable factors and a constant C, a factor and a shift by column": Folds(
        "(float[N,3] x, float[8,5] z) => (float[N,5] y) <float[3,8] w, float[5] b, float k = {-2}, "
        "float[5] t> "
        "{ c = MatMul(x, w) d = Gemm<alpha=0.5, beta=2.0>(c, z, b) m = Mul(d, k) y = Add(m, t) }",
        "MatMul Gemm",
    ),
    "a variable C, a scale by column": Folds(
        "(float[N,3] x, float[N,3] u) => (float[N,5] y) <float[3,5] w, float[3,5] v, float[5] k> "
        "{ e = MatMul(u, v) d = Gemm<alpha=0.5, beta=2.0>(x, w, e) y = Mul(d, k) }",
        "MatMul Gemm",
    ),
    "a variable C, a scale by column and a shift": Folds(
        "(float[N,3] x, float[N,3] u) => (float[N,5] y) <float[3,5] w, float[3,5] v, float[5] b, "
        "float[5] k, float[5] t> "
        "{ g = Gemm(u, v, b) d = Gemm<alpha=0.5, beta=2.0>(x, w, g) m = Mul(d, k) y = Add(m, t) }",
        "Gemm Gemm",
    ),
}
FORWARD = {
    "two variable factors, a factor of A": Folds(
        "(float[N,3] x, float[3,5] z) => (float[N,4] y) <float k = {-2}, float[5,4] v> "
        "{ c = Mul(x, k) d = Gemm(c, z) y = MatMul(d, v) }",
        "Gemm MatMul",
        "forward",
    ),
    "a variable C with a shift by column": Folds(
        "(float[N,3] x, float[N,5] u) => (float[N,4] y) <float[3,5] w, float[5] t, float[5,4] v, "
        "float[4] b> "
        "{ c = Add(u, t) d = Gemm<beta=2.0>(x, w, c) e = MatMul(d, v) y = Add(e, b) }",
        "Gemm Gemm",
        "forward backward",
    ),
}


test_refuses = every(REFUSES)
test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
