"""The decision: which plan for a run of affines leaves the fewest operators, or what stood in the way of each."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, assert_sound, back, every, operators
from tests.onnx_text import parse

BACKWARD = {
    "a scale on a biased matmul before a gelu": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b, float[8] k, "
        "float r = {1.414213562}, float one = {1}, float half = {0.5}> "
        "{ c = MatMul(x, w) s = Add(c, b) d = Mul(s, k) h = Div(d, r) i = Erf(h) j = Add(i, one) "
        "l = Mul(d, j) y = Mul(l, half) }",
        "MatMul Add Div Erf Add Mul Mul",
        kept="h j y",
    ),
    "the Add that a norm's shift makes goes on into the next norm": Folds(
        "(float[N,4,6] x, float[N,4,6] z) => (float[N,4,6] y) <float[1,4] w, float[1] g1, float[1] be1, "
        f"float[1] m1,float[1] var1, float k = {{3}}, {BN4}> "
        "{ a = MatMul(w, x) b = BatchNormalization(a, g1, be1, m1, var1) c = Mul(k, b) d = Sub(z, c) "
        "y = BatchNormalization(d, g, be, m, var) }",
        "MatMul Sub BatchNormalization",
        kept="y",
    ),
    "the scale one way and the shift the other, between an average of zeros and a sum": Folds(
        back(
            "N,4,6,6",
            "d = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(c) e = BatchNormalization(d, "
            "g, be, m, var) f = Conv<pads=[1,1,1,1]>(z, w2, b2) y = Add(f, e)",
            f"{BN4}, float[4,3,5,5] w2, float[4] b2",
            more=", float[N,3,8,8] z",
        ),
        "Conv AveragePool Conv Add",
    ),
}
FORWARD = {
    "a norm before a biased matmul and a gelu": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4] k, float[4] t, float[4,8] w, float[8] b, "
        "float r = {1.414213562}, float one = {1}, float half = {0.5}> "
        "{ a = Mul(x, k) s = Add(a, t) c = MatMul(s, w) d = Add(c, b) h = Div(d, r) i = Erf(h) "
        "j = Add(i, one) l = Mul(d, j) y = Mul(l, half) }",
        "MatMul Add Div Erf Add Mul Mul",
        "forward",
        kept="d h j y",
    ),
    "the shift of a norm makes an Add, and a scale along the other axis stays": Folds(
        f"(float[N,4,5] x) => (float[N,8,5] y) <{BN4}, float[8,4] w, float[5] k> "
        "{ c = BatchNormalization(x, g, be, m, var) d = MatMul(w, c) e = Mul(d, k) y = Relu(e) }",
        "MatMul Add Mul Relu",
        "forward",
        kept="e",
    ),
    "the shift one way and the scale the other, between a max pool and zero padding": Folds(
        back(
            "N,2,3,3",
            "d = MaxPool<kernel_shape=[2,2],strides=[2,2]>(c) e = BatchNormalization(d, g, be, m, "
            "var) y = Conv<pads=[1,1,1,1]>(e, w2)",
            f"{BN4}, float[2,4,3,3] w2",
        ),
        "Conv MaxPool Conv",
        "forward",
    ),
}
FOLDS = {
    "the shift of a norm makes an Add that the scale behind it passes": Folds(
        f"(float[N,4,5] x) => (float[N,8,5] y) <{BN4}, float[8,4] w, float[8,1] k> "
        "{ c = BatchNormalization(x, g, be, m, var) d = MatMul(w, c) e = Mul(d, k) y = Relu(e) }",
        "MatMul Add Relu",
        "forward backward",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_folds = every(FOLDS)


def test_a_norm_does_not_go_to_and_fro_between_two_biases() -> None:
    weights = "float[4,4] w, float[4] g, float[4] b, float[4] m, float[4] var, float[4,4] v, float[4,1] t, float[4] k"
    text = (
        f"(float[N,4,4] x, float[N,4,4] z) => (float[N,4,4] y) <{weights}> {{ a = MatMul(x, w)"
        " n = BatchNormalization(a, g, b, m, var) c = MatMul(z, v) d = Mul(c, k) e = Transpose<perm=[0,2,1]>(d)"
        " f = MatMul(n, e) h = Add(f, t) y = Softmax<axis=1>(h) }"
    )
    left = operators(assert_sound(parse(text)).model).split()
    assert left.count("BatchNormalization") == 1 and len(left) < 8
