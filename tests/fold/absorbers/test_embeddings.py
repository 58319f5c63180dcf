"""Gather from a constant table: an embedding takes an affine of its features into the table."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, back, every

BACKWARD = {
    "an embedding": Folds(
        "(int64[N,5] i) => (float[N,5,8] y) <float[9,8] w, float[8] k, float[8] t> "
        "{ c = Gather(w, i) d = Mul(c, k) y = Add(d, t) }",
        "Gather",
    ),
    "an embedding along the columns": Folds(
        "(int64[5] i) => (float[8,5] y) <float[8,9] w, float[8,1] k> { c = Gather<axis=1>(w, i) y = Mul(c, k) }",
        "Gather",
    ),
    "embedding gathernd": Folds(
        "(int64[N,1] x) => (float[N,4] y) <float[10,4] w, float[4] k> { c = GatherND(w, x) y = Mul(c, k) }", "GatherND"
    ),
}
REFUSES = {
    "a factor of the rows of indices": Refuses(
        "(int64[4,2] i) => (float[4,3] y) <float[5,6,3] t, float[4,1] pos> { c = GatherND(t, i) y = Mul(c, pos) }",
        "NF111 c, NF104 y",
    ),
    "an embedding, along the tokens": Refuses(
        "(int64[5] i) => (float[5,8] y) <float[9,8] w, float[5,1] k> { c = Gather(w, i) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "GatherND: a scale along the last axis": Refuses(
        back("N,4,2", "d = GatherND<batch_dims=2>(c, i) y = Mul(d, kw)", "float[2] kw", more=", int64[N,4,2,2] i"),
        "NF111 d, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_refuses = every(REFUSES)
