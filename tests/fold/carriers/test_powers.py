"""Carriers that raise to a power: Sqrt, Reciprocal, Pow by a constant, the square of a value. Only a scale passes."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

REFUSES = {
    "exponents by channel": Refuses(
        back("N,4,6,6", "d = Pow(c, e) y = Mul(d, pos)", "float[4,1,1] e = {1, 2, 3, 4}, float[4,1,1] pos"),
        "NF110 d, NF104 y",
    ),
    "an exponent gives a power its rank": Refuses(
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] p={2}, float[4] pos, float[4,4] w> "
        "{ a = MatMul(x, w) b = Pow(a, p) y = Mul(b, pos) }",
        "NF110 b, NF104 y",
    ),
    "Sqrt: a shift by channel": Refuses(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) y = Add(d, t)", "float[4,1,1] t"), "NF108 d, NF104 y"
    ),
    "Sqrt: a shift by channel again": Refuses(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) y = Add(d, t)", "float[4,1,1] t"), "NF108 d, NF104 y"
    ),
    "Reciprocal: a scale along the last axis": Refuses(
        back("N,4,6,6", "a = Exp(c) d = Reciprocal(a) y = Mul(d, kw)", "float[6] kw"), "NF109 a, NF104 y"
    ),
}
BACKWARD = {
    "Sqrt: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Abs Sqrt Add",
        kept="y",
    ),
    "Reciprocal: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6", "a = Exp(c) d = Reciprocal(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"
        ),
        "Conv Exp Reciprocal Add",
        kept="y",
    ),
    "Pow: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6", "d = Pow(c, p) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t, float p = {2}"
        ),
        "Conv Pow Add",
        kept="y",
    ),
    "Sqrt: a positive scale by channel and a shift again": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Abs Sqrt Add",
        kept="y",
    ),
    "Reciprocal: a positive scale by channel and a shift again": Folds(
        back(
            "N,4,6,6", "a = Exp(c) d = Reciprocal(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"
        ),
        "Conv Exp Reciprocal Add",
        kept="y",
    ),
    "Pow: a positive scale by channel and a shift again": Folds(
        back(
            "N,4,6,6", "d = Pow(c, p) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t, float p = {2}"
        ),
        "Conv Pow Add",
        kept="y",
    ),
}
FORWARD = {
    "Sqrt: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Sqrt(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="r = Abs(x) m = Mul(r, pos) c = Add(m, t)",
        ),
        "Abs Add Sqrt Conv",
        "forward",
        kept="c",
    ),
    "Reciprocal: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "a = Exp(c) d = Reciprocal(a) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Exp Reciprocal Conv",
        "forward",
        kept="m",
    ),
    "Pow: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Pow(c, p) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float p = {2}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Pow Conv",
        "forward",
        kept="c",
    ),
    "Sqrt: a scale by channel and a shift": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, k) y = Add(m, t)", "float[4,1,1] k, float[4,1,1] t"),
        "Conv Abs Sqrt BatchNormalization",
        "merge",
        kept="y",
    ),
    "Sqrt: a positive scale by channel and a shift again": Folds(
        ahead(
            "N,5,6,6",
            "d = Sqrt(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="r = Abs(x) m = Mul(r, pos) c = Add(m, t)",
        ),
        "Abs Add Sqrt Conv",
        "forward",
        kept="c",
    ),
    "Reciprocal: a positive scale by channel and a shift again": Folds(
        ahead(
            "N,5,6,6",
            "a = Exp(c) d = Reciprocal(a) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Exp Reciprocal Conv",
        "forward",
        kept="m",
    ),
    "Pow: a positive scale by channel and a shift again": Folds(
        ahead(
            "N,5,6,6",
            "d = Pow(c, p) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float p = {2}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Pow Conv",
        "forward",
        kept="c",
    ),
    "Sqrt: a scale by channel and a shift again": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, k) y = Add(m, t)", "float[4,1,1] k, float[4,1,1] t"),
        "Conv Abs Sqrt BatchNormalization",
        "merge",
        kept="y",
    ),
}


test_refuses = every(REFUSES)
test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
