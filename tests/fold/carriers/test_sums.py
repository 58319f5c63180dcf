"""Carriers that add: Add, Sum, Sub of variables."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, back, every

BACKWARD = {
    "sum of two convs, the scale to both, the shift to one": Folds(
        "(float[N,3,6,6] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        f"float[4,3,1,1] v, {BN4}> "
        "{ d = Conv(z, w, b) e = Conv(x, v) c = Add(d, e) y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Add",
    ),
    "difference of two convs": Folds(
        "(float[N,3,6,6] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        f"float[4,3,1,1] v, {BN4}> "
        "{ d = Conv(z, w, b) e = Conv(x, v) c = Sub(d, e) y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Sub",
    ),
    "sum of three": Folds(
        "(float[N,3,6,6] x, float[N,3,8,8] z, float[N,3,6,6] q) => (float[N,4,6,6] y)<float[4,3,3,3] w, "
        f"float[4] b, float[4,3,1,1] v, float[4,3,1,1] u, {BN4}> "
        "{ d = Conv(z, w, b) e = Conv(x, v) f = Conv(q, u) c = Sum(d, e, f) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Conv Sum",
    ),
    "a shift goes to the addend that can take it": Folds(
        "(float[N,3,6,6] x, float[N,4,6,6] z) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] t> "
        "{ e = Conv(x, v) d = Sub(z, e) y = Add(d, t) }",
        "Conv Sub",
    ),
    "a value added to itself": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {BN4}> "
        "{ d = Conv(x, v) c = Add(d, d) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "a value added to its own transpose": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] k> "
        "{ d = Conv(x, v) e = Transpose<perm=[0,1,3,2]>(d) c = Add(d, e) y = Mul(c, k) }",
        "Conv Transpose Add",
    ),
    "a broadcast addend": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,3,6,6] w, {BN4}> "
        "{ d = Conv(x, v) e = Conv(x, w) c = Add(e, d) y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Add",
    ),
    "mean of two convs": Folds(
        "(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        f"float[4,3,3,3] w2, {BN4}> "
        "{ c = Conv(x, w, b) e = Conv(z, w2) d = Mean(c, e) y = BatchNormalization(d, g, be, m, var) }",
        "Conv Conv Mean",
    ),
}
FORWARD = {
    "a shift through a sum of two": Folds(
        ahead(
            "N,5,6,6",
            "e = Relu(x) d = Add(e, c) y = Conv(d, w)",
            "float[4,1,1] t, float[5,4,1,1] w",
            first="c = Sub(x, t)",
        ),
        "Relu Add Conv",
        "forward",
    ),
    "a shift through a difference": Folds(
        ahead(
            "N,5,6,6",
            "e = Relu(x) d = Sub(e, c) y = Conv(d, w)",
            "float[4,1,1] t, float[5,4,1,1] w",
            first="c = Sub(x, t)",
        ),
        "Relu Sub Conv",
        "forward",
    ),
    "a shift that both addends bring, one of them through a conv": Folds(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1] t, float[4,4,1,1] w, float[4] b, "
        "float[4,4,3,3] v> "
        "{ c = Add(x, t) d = Conv(c, w, b) e = Add(d, c) y = Sigmoid(e) }",
        "Conv Sigmoid",
        "forward branches",
    ),
    "a norm whose value is added to itself": Folds(
        ahead("N,5,6,6", "d = Add(c, c) y = Conv(d, w)", f"{BN4}, float[5,4,1,1] w"), "Conv", "forward"
    ),
    "a shift between a value and what is made of it": Folds(
        "(float[N,2,3,2] x) => (float[N,1,3,2] y) <float[2] g1, float[2] be1, float[2] m1, "
        "float[2] var1,int64[1] i = {0}, float[1] k, float[1] g, float[1] be, float[1] m, float[1] var> "
        "{ a = BatchNormalization(x, g1, be1, m1, var1) b = Gather<axis=1>(a, i) c = Add(k, b) "
        "d = Sub(b, c) e = BatchNormalization(d, g, be, m, var) y = Relu(e) }",
        "Gather Sub BatchNormalization Relu",
        "forward",
        kept="e",
    ),
    "an addend of lower rank lacks a scale": Folds(
        "(float[N,3,4] x, float[3,4] z) => (float[N,3,5] y) <float[4] s, float[4,4] v, float[4,5] w> "
        "{ a = Mul(z, s) b = MatMul(x, v) c = Add(a, b) y = MatMul(c, w) }",
        "MatMul Add MatMul",
        "forward",
    ),
    "an addend of lower rank lacks a scale, the other is reshaped": Folds(
        "(float[N,12] x, float[3,4] z) => (float[N,3,5] y) <float[4] s, float[12,12] v, "
        "int64[3] i={-1,3,4}, float[4,5] w> "
        "{ a = Mul(z, s) b = MatMul(x, v) r = Reshape(b, i) c = Add(a, r) y = MatMul(c, w) }",
        "MatMul Reshape Add MatMul",
        "forward",
    ),
    "Sum: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Sum(c, z, z) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,4,6,6] z",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Sum Conv",
        "forward",
        kept="m",
    ),
    "Mean: both with one shift": Folds(
        ahead(
            "N,5,6,6",
            "e = Relu(x) d = Mean(e, c) y = Conv(d, v)",
            "float[4,1,1] t, float[5,4,1,1] v",
            first="c = Add(x, t)",
        ),
        "Relu Mean Conv",
        "forward",
    ),
    "Mean: of one value twice": Folds(
        ahead(
            "N,5,6,6",
            "d = Mean(c, c, c) y = Conv(d, v)",
            "float[4,1,1] k, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Conv",
        "forward",
    ),
    "Sum: a shift goes into a constant addend": Folds(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] t, float[4] b> { c = Add(x, t) d = Sum(c, "
        "z, b) y = Sigmoid(d) }",
        "Sum Sigmoid",
        "forward",
    ),
}
REFUSES = {
    "a shift whose other addend is made of the same value": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float t = {2}, float[4,1,1] u> "
        "{ b = Relu(x) c = Add(b, t) d = Transpose<perm=[0,1,3,2]>(c) e = Sub(b, d) y = Sigmoid(e) }",
        "NF103 e, NF110 y",
        site="c",
    ),
    "a sum with an input of the graph": Refuses(
        back("N,4,6,6", "d = Add(c, z) y = BatchNormalization(d, g, be, m, var)", more=", float[N,4,6,6] z"),
        "NF118 d, NF104 y",
    ),
    "a sum of two, and a scale behind one": Refuses(
        ahead(
            "N,5,6,6",
            "e = Relu(x) d = Add(e, c) y = Conv(d, w)",
            "float[4,1,1] k, float[5,4,1,1] w",
            first="c = Mul(x, k)",
        ),
        "NF117 d, NF118 c",
        site="c",
    ),
    "a sum that broadcasts along the channels": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[1,3,1,1] v, float[4,3,1,1] w, {BN4}> "
        "{ d = Conv(x, v) e = Conv(x, w) c = Add(e, d) y = BatchNormalization(c, g, be, m, var) }",
        "NF111 c, NF104 y",
    ),
    "a value minus itself, and a shift": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {BN4}> "
        "{ d = Conv(x, v) c = Sub(d, d) y = BatchNormalization(c, g, be, m, var) }",
        "NF108 c, NF104 y",
    ),
    "a value plus its own identity, and a shift": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] t> "
        "{ d = Conv(x, v) e = AveragePool<kernel_shape=[1,1]>(d) c = Add(d, e) y = Add(c, t) }",
        "NF103 e, NF104 y",
    ),
    "Sum: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Sum(c, z, z) y = Mul(d, kw)", "float[6] kw", more=", float[N,4,6,6] z"), "NF118 d, NF104 y"
    ),
    "Mean: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Mean(c, z) y = Mul(d, kw)", "float[6] kw", more=", float[N,4,6,6] z"), "NF118 d, NF104 y"
    ),
    "Mean: a scale before one, forward": Refuses(
        ahead("N,4,6,6", "e = Relu(x) d = Mean(e, c) y = Sigmoid(d)", "float[4,1,1] k", first="c = Mul(x, k)"),
        "NF117 d, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
