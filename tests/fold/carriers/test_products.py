"""Carriers that multiply: Mul and Div by a variable, MatMul of two variables. A scale passes, by one factor."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, assert_sound, back, every, operators
from tests.onnx_text import parse

TWO = "(float[N,5,8] x, float[N,7,8] z) => (float[N,5,7] y)"
SCORES = "com.microsoft.FusedMatMul<transB=1, alpha=0.5>"
MS = '"com.microsoft":1'

BACKWARD = {
    "a product takes a scale on one side": Folds(
        back("N,4,6,6", "d = Mul(c, z) y = Mul(d, k)", "float[4,1,1] k", more=", float[N,1,6,6] z"), "Conv Mul"
    ),
    "a quotient": Folds(
        back("N,4,6,6", "d = Div(c, z) y = Mul(d, k)", "float[4,1,1] k", more=", float[N,4,6,6] z"), "Conv Div"
    ),
    "a divisor takes the inverse": Folds(
        back("N,4,6,6", "e = Relu(z) d = Div(e, c) y = Mul(d, k)", "float[4,1,1] k", more=", float[N,4,6,6] z"),
        "Conv Relu Div",
        values={"b": (100,) * 4},
    ),
    "attention: 1/sqrt(d) goes into the weight of the query": Folds(
        "(float[N,5,8] x) => (float[N,5,5] y) <float[8,8] q, float[8,8] k, float s = {0.35}> "
        "{ a = MatMul(x, q) b = MatMul(x, k) t = Transpose<perm=[0,2,1]>(b) c = MatMul(a, t) "
        "d = Mul(c, s) y = Softmax(d) }",
        "MatMul MatMul Transpose MatMul Softmax",
    ),
    "attention: into the query part of one weight": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8,24] w, float s = {0.35}, int64[3] p = {8, 8, 8}> "
        "{ a = MatMul(x, w) q, k, v = Split<axis=2>(a, p) t = Transpose<perm=[0,2,1]>(k) "
        "c = MatMul(q, t) d = Mul(c, s) e = Softmax(d) y = MatMul(e, v) }",
        "MatMul Split Transpose MatMul Softmax MatMul",
    ),
    "a norm on the product of two variables leaves its shift as a bias": Folds(
        f"(float[N,5] x, float[N,N] a) => (float[N,4] y) <float[5,4] w, float[4] b,{BN4}> "
        "{ c = MatMul(x, w) d = MatMul(a, c) e = Add(d, b) f = BatchNormalization(e, g, be, m, var) "
        "y = Relu(f) }",
        "MatMul MatMul Add Relu",
        kept="e",
    ),
    "a norm on the product of two variables, without a bias": Folds(
        f"(float[N,5] x, float[N,N] a) => (float[N,4] y) <float[5,4] w,{BN4}> "
        "{ c = MatMul(x, w) d = MatMul(a, c) e = BatchNormalization(d, g, be, m, var) y = Relu(e) }",
        "MatMul MatMul Add Relu",
    ),
    "Einsum of one, backward": Folds(
        "(float[N,4] x) => (float[4,N] y) <float[4,4] w, float k={2.5}> "
        '{ a = MatMul(x, w) b = Einsum<equation="ij->ji">(a) y = Mul(b, k) }',
        "MatMul Einsum",
    ),
    "Einsum of three, one a constant": Folds(
        "(float[N,4] x, float[4,5] p) => (float[N,5] y) <float[4,4] w, float k={2.5}> "
        '{ a = Einsum<equation="ij,jk,kl->il">(x, w, p) y = Mul(a, k) }',
        "Einsum",
    ),
    "Mul: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = Mul(z, c) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t",
            more=", float[N,4,6,6] z",
        ),
        "Conv Mul Add",
        kept="y",
    ),
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
    "Einsum: a scale that lies along another axis of the operand": Folds(
        "(float[N,4] x, float[6,4] z) => (float[N,5] y) <float[5,6] w, float[5] k> { e = MatMul(w, z) d = "
        'Einsum<equation="nj,mj->nm">(x, e) y = Mul(d, k) }',
        "MatMul Einsum",
    ),
}
FORWARD = {
    "one number into a product of two values, from behind": Folds(
        f"{TWO} <float s = {{2}}> {{ a = {SCORES}(x, z) y = Mul(a, s) }}", "FusedMatMul", domains=MS
    ),
    "one number into a product of two values, from before": Folds(
        f"{TWO} <float s = {{2}}> {{ b = Mul(z, s) y = {SCORES}(x, b) }}", "FusedMatMul", "forward", domains=MS
    ),
    "a product with a variable": Folds(
        ahead(
            "N,5,4,4",
            "d = Mul(c, z) y = Conv(d, w)",
            "float[4,1,1] k, float[5,4,3,3] w",
            more=", float[N,4,6,6] z",
            first="c = Mul(x, k)",
        ),
        "Mul Conv",
        "forward",
    ),
    "float16: a scale above 1 behind a product": Folds(
        "(float16[N,3,4] x, float16[N,4,2] z) => (float16[N,3,2] y) <float16 big, float16[2,2] w> "
        "{ c = Mul(x, big) d = MatMul(c, z) y = MatMul(d, w) }",
        "MatMul MatMul",
        "forward",
        values={"w": (1.0,) * 4, "big": (2.0,)},
    ),
    "Einsum of one, forward": Folds(
        "(float[N,4] x) => (float[N,5] y) <float[4] s, float[4,5] w> "
        '{ a = Mul(x, s) b = Einsum<equation="ij->ji">(a) c = Transpose<perm=[1,0]>(b) y = MatMul(c, w) }',
        "Einsum Transpose MatMul",
        "forward",
    ),
    "Div: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Div(c, z) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,4,6,6] z",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Div Conv",
        "forward",
        kept="c",
    ),
    "Div: a positive scale by channel": Folds(
        ahead(
            "N,5,6,6",
            "e = Exp(z) d = Div(e, c) y = Conv(d, v)",
            "float[4,1,1] pos, float[5,4,1,1] v",
            more=", float[N,4,6,6] z",
            first="c = Mul(x, pos)",
        ),
        "Exp Div Conv",
        "forward",
    ),
    "the bias of the values of an attention": Folds(
        "(float[N,5,4] x, float[N,5,5] a) => (float[N,5,6] y) <float[4,4] w, float[4] b, float[4,6] v, "
        "float[6] c> "
        "{ d = MatMul(x, w) e = Add(d, b) p = Softmax(a) f = MatMul(p, e) g = MatMul(f, v) h = Add(g, c) "
        "y = Sigmoid(h) }",
        "MatMul Softmax MatMul MatMul Add Sigmoid",
        "forward",
        kept="h",
    ),
    "MatMul: a shift that a softmax cancels, and a factor that is undone": Folds(
        "(float[N,5,8] x, float[N,8,7] z) => (float[N,5,7] y) <float k = {2}, float[8,1] t, float h = {0.5}> "
        "{ m = Mul(z, k) c = Add(m, t) d = MatMul(x, c) e = Mul(d, h) y = Softmax(e) }",
        "MatMul Softmax",
        "forward merge",
    ),
}
REFUSES = {
    "a factor by feature of a product of two values": Refuses(
        f"{TWO} <float[8] k> {{ b = Mul(z, k) y = {SCORES}(x, b) }}", "NF111 y, NF118 b", domains=MS
    ),
    "a factor that alpha cannot hold": Refuses(
        "(float[N,5,8] x, float[N,7,8] z) => (float[N,5,7] y) <float o = {1e38}>"
        "{ b = Mul(z, o) y = com.microsoft.FusedMatMul<transB=1, alpha=100.0>(x, b) }",
        "NF115 y, NF118 b",
        domains=MS,
    ),
    "a value times its own identity": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] k> "
        "{ d = Conv(x, v) e = AveragePool<kernel_shape=[1,1]>(d) c = Mul(d, e) y = Mul(c, k) }",
        "NF103 e, NF104 y",
    ),
    "a matrix times its own transpose": Refuses(
        "(float[N,3,5] x) => (float[N,4,4] y) <float[4,3] v, float k = {2}> "
        "{ d = MatMul(v, x) e = Transpose<perm=[0,2,1]>(d) c = MatMul(d, e) y = Mul(c, k) }",
        "NF103 c, NF104 y",
    ),
    "a square": Refuses(back("N,4,6,6", "d = Mul(c, c) y = Mul(d, k)", "float[4,1,1] k"), "NF109 d, NF104 y"),
    "a product and a shift": Refuses(
        back("N,4,6,6", "d = Mul(c, z) y = Add(d, k)", "float[4,1,1] k", more=", float[N,4,6,6] z"), "NF108 d, NF104 y"
    ),
    "float16: a product without its small scale": Refuses(
        "(float16[N,3,4] x, float16[N,4,2] z) => (float16[N,3,2] y) <float16 k, float16[2,2] w> "
        "{ c = Mul(x, k) d = MatMul(c, z) y = MatMul(d, w) }",
        "NF115 d, NF118 c",
        values={"w": (1.0,) * 4, "k": (0.25,)},
    ),
    "Div: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Div(c, z) y = Mul(d, kw)", "float[6] kw", more=", float[N,4,6,6] z"), "NF111 c, NF104 y"
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
    "Div: a value by itself": Refuses(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) d = Div(c, c) y = Mul(d, k) }",
        "NF110 d, NF104 y",
    ),
    "Div: a divisor with a scale of 0": Refuses(
        "(float[N,4] x, float[N,4] z) => (float[N,3] y) <float[4] k = {0,1,2,3}, float[4,3] w> { c = Mul(x, "
        "k) d = Div(z, c) y = MatMul(d, w) }",
        "NF109 d, NF118 c",
    ),
    "MatMul: a scale by rows and columns": Refuses(
        "(float[N,5,4] x, float[N,7,4] z) => (float[N,5,7] y) <float[4,8] a, float[4,8] b, float[5,7] k> { c "
        "= MatMul(x, a) e = MatMul(z, b) f = Transpose<perm=[0,2,1]>(e) d = MatMul(c, f) y = Mul(d, k) }",
        "NF111 d, NF104 y",
    ),
    "MatMul: a scale along the axis that is summed": Refuses(
        "(float[N,5,8] x, float[N,8,7] z) => (float[N,5,7] y) <float[8] k> { c = Mul(x, k) d = MatMul(c, z) "
        "y = Relu(d) }",
        "NF111 d, NF118 c",
    ),
    "MatMul: a shift before a softmax along another axis": Refuses(
        "(float[N,5,8] x, float[N,8,7] z) => (float[N,5,7] y) <float[8,1] t> { c = Add(z, t) d = MatMul(x, "
        "c) y = Softmax<axis=1>(d) }",
        "NF108 d, NF118 c",
    ),
    "Einsum: a scale along an axis that is broadcast": Refuses(
        "(float[1,4] u, float[5,4] x) => (float[5,4] y) <float[5,1] k> { c = Sigmoid(u) d = "
        'Einsum<equation="...j,...j->...j">(c, x) y = Mul(d, k) }',
        "NF118 d, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)


def test_sums_of_an_einsum_of_three_stay() -> None:
    model = parse(
        "(float[N,4] x, float[4,5] p, float[4,5] q) => (float[N,5] y) <float[4,4] w, float[4,4] v> "
        '{ a = Einsum<equation="ij,jk,kl->il">(x, w, p) b = Einsum<equation="ij,jk,kl->il">(x, v, q) y = Add(a, b) }'
    )
    assert operators(assert_sound(model).model) == "Einsum Einsum Add"
