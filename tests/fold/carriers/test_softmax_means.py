"""Products that are weighted means: what a Softmax gives sums to one, so a shift of the values is one of their mean."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, every

BACKWARD = {
    "a norm behind an attention": Folds(
        "(float[N,5,4] x, float[N,5,5] a) => (float[N,5,4] y) <float[4,4] w, float[4] b, float[4] k, "
        "float[4] t> "
        "{ d = MatMul(x, w) e = Add(d, b) p = Softmax(a) f = MatMul(p, e) g = Mul(f, k) h = Add(g, t) "
        "y = Sigmoid(h) }",
        "MatMul Add Softmax MatMul Sigmoid",
        kept="e",
    ),
    "a norm behind an attention of channels first": Folds(
        f"(float[N,3,5] x, float[N,5,5] a) => (float[N,4,5] y) <float[4,3,1] w, float[4] b, {BN4}> "
        "{ d = Conv(x, w, b) p = Softmax<axis=2>(a) q = Transpose<perm=[0,2,1]>(p) f = MatMul(d, q) "
        "e = BatchNormalization(f, g, be, m, var) y = Relu(e) }",
        "Conv Softmax Transpose MatMul Relu",
    ),
}
FORWARD = {
    "the bias of the values of an attention": Folds(
        "(float[N,5,4] x, float[N,5,5] a) => (float[N,5,6] y) <float[4,4] w, float[4] b, float[4,6] v, "
        "float[6] c> "
        "{ d = MatMul(x, w) e = Add(d, b) p = Softmax(a) f = MatMul(p, e) g = MatMul(f, v) h = Add(g, c) "
        "y = Sigmoid(h) }",
        "MatMul Softmax MatMul MatMul Add Sigmoid",
        "forward",
        kept="h",
    ),
}
REFUSES = {
    "a shift behind an attention over the queries": Refuses(
        "(float[N,3,5] x, float[N,5,5] a) => (float[N,4,5] y) <float[4,3,1] w, float[4] b, float[4,1] t> "
        "{ d = Conv(x, w, b) p = Softmax<axis=2>(a) f = MatMul(d, p) e = Add(f, t) y = Relu(e) }",
        "NF108 f, NF108 y",
    ),
    "a shift behind an attention of which some is dropped": Refuses(
        "(float[N,5,4] x, float[N,5,5] a, bool train) => (float[N,5,4] y) <float[4,4] w, float[4] t, "
        "float r> "
        "{ d = MatMul(x, w) p = Softmax(a) q = Dropout(p, r, train) f = MatMul(q, d) e = Add(f, t) "
        "y = Relu(e) }",
        "NF108 f, NF108 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
