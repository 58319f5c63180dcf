"""Einsum of a variable and a constant: a linear operator whose axes have letters."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, back, every

BACKWARD = {
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
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[4] k> "
        '{ c = Mul(x, k) y = Einsum<equation="bij,jo->bio">(c, w) }',
        "Einsum",
        "forward",
    ),
}
REFUSES = {
    "Einsum: a scale along the last axis": Refuses(
        back(
            "N,4,6,3",
            'd = Einsum<equation="ncij,ncjk->ncik">(c, z) y = Mul(d, kw)',
            "float[3] kw",
            more=", float[N,4,6,3] z",
        ),
        "NF118 d, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
