"""Carriers that choose between values, element by element: Where, Max and Min."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

BACKWARD = {
    "a constant gives a maximum its rank": Folds(
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] c={0.5}, float k={2.5}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Max(a, c) y = Mul(b, k) }",
        "MatMul Max",
    ),
    "Where: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = Where(q, c, f) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, float f = {0.5}",
            more=", bool[N,1,6,6] q",
        ),
        "Conv Where",
    ),
    "Min: a positive scale by channel": Folds(
        back("N,4,6,6", "d = Min(c, m) y = Mul(d, pos)", "float[4,1,1] pos, float[4,1,1] m"), "Conv Min"
    ),
    "Min: a shift by channel": Folds(
        back("N,4,6,6", "d = Min(c, m) y = Add(d, t)", "float[4,1,1] t, float[4,1,1] m"), "Conv Min"
    ),
}
FORWARD = {
    "a constant of equal numbers gives a maximum its shape": Folds(
        "(float[N,1] x) => (float[N,5] y) <float[1,4] c={0.5,0.5,0.5,0.5}, float k={2.5}, float[4,5] w> "
        "{ a = Mul(x, k) b = Max(a, c) y = MatMul(b, w) }",
        "Max MatMul",
        "forward",
    ),
    "a fill of equal numbers gives a choice its shape": Folds(
        "(bool[N,1] q, float[N,1] x) => (float[N,5] y) <float[1,4] c={0.5,0.5,0.5,0.5}, float k={2.5}, "
        "float[4,5] w> "
        "{ a = Mul(x, k) b = Where(q, a, c) y = MatMul(b, w) }",
        "Where MatMul",
        "forward",
    ),
    "Min: a positive scale by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Min(c, m) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] m, float[5,4,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "Min Conv",
        "forward",
    ),
    "Min: a shift by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Min(c, m) y = Conv(d, v)",
            "float[4,1,1] t, float[4,1,1] m, float[5,4,1,1] v",
            first="c = Add(x, t)",
        ),
        "Min Conv",
        "forward",
    ),
}
REFUSES = {
    "a factor of opset 7, which broadcasts nothing": Refuses(
        back("N,4,6,6", "d = Max(c, v) y = Mul(d, pos)", "float[4,1,1] v, float pos"), "NF110 d, NF104 y", opset=7
    ),
    "Max: signs by channel": Refuses(
        back("N,4,6,6", "d = Max(c, m) y = Mul(d, k)", "float[4,1,1] k = {1, -1, 1, -1}, float[4,1,1] m"),
        "NF109 d, NF104 y",
    ),
    "Max of a value with and without its shift, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = Max(c, m) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "NF103 d, NF117 d",
    ),
    "Where: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Where(q, c, f) y = Mul(d, kw)", "float[6] kw, float f = {0.5}", more=", bool[N,1,6,6] q"),
        "NF111 c, NF104 y",
    ),
    "Min: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Min(c, m) y = Mul(d, kw)", "float[6] kw, float[4,1,1] m"), "NF109 d, NF104 y"
    ),
    "Max: a scale of 0 before a bound": Refuses(
        "(float[N,4] x) => (float[N,3] y) <float[4] k = {0,1,2,3}, float[4] lo, float[4,3] w> { c = Mul(x, "
        "k) d = Max(c, lo) y = MatMul(d, w) }",
        "NF109 d, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
