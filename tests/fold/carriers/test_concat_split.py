"""Carriers that join and part tensors along an axis: Concat and Split."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, back, every

BACKWARD = {
    "split whose other part is read elsewhere": Folds(
        back(
            "N,1,6,6",
            "d, e = Split<axis=1>(c, s) y = Mul(d, k) z = Relu(e)",
            "float k = {-3}, int64[2] s = {1, 3}",
            outputs=", float[N,3,6,6] z",
        ),
        "Conv Split Relu",
    ),
    "split of opset 11 with both parts scaled": Folds(
        back(
            "N,2,6,6",
            "d, e = Split<axis=1, split=[2,2]>(c) y = Mul(d, k) z = Add(e, t)",
            "float[2,1,1] k, float[2,1,1] t",
            outputs=", float[N,2,6,6] z",
        ),
        "Conv Split",
        opset=11,
    ),
    "concat of two convs": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[1,3,1,1] w, float[3,3,1,1] v, float[3] b, {BN4}> "
        "{ d = Conv(x, w) e = Conv(x, v, b) c = Concat<axis=1>(d, e) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Concat",
    ),
    "concat on a negative axis of matmuls": Folds(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,1] w, float[3,3] v, float[4] k> "
        "{ d = MatMul(x, w) e = MatMul(x, v) c = Concat<axis=-1>(d, e) y = Mul(c, k) }",
        "MatMul MatMul Concat",
    ),
    "concat with a constant": Folds(
        f"(float[2,3,6,6] x) => (float[2,4,6,6] y) <float[2,1,6,6] w, float[3,3,1,1] v, float[3] b, {BN4}> "
        "{ e = Conv(x, v, b) c = Concat<axis=1>(w, e) y = BatchNormalization(c, g, be, m, var) }",
        "Conv Concat",
    ),
    "concat along another axis": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,12,6] y) <float[4,3,1,1] w, float[4,3,1,1] v, {BN4}> "
        "{ d = Conv(x, w) e = Conv(x, v) c = Concat<axis=2>(d, e) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "Conv Conv Concat",
    ),
    "concat of a value with itself": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[2,3,1,1] w, float[4,1,1] k = {2, 3, 2, 3}> "
        "{ d = Conv(x, w) c = Concat<axis=1>(d, d) y = Mul(c, k) }",
        "Conv Concat",
    ),
}
FORWARD = {
    "concat with another input": Folds(
        ahead("N,5,6,6", "d = Concat<axis=1>(c, x) y = Conv(d, w)", f"{BN4}, float[5,8,1,1] w"),
        "Concat Conv",
        "forward",
    ),
    "concat of two norms": Folds(
        ahead(
            "N,5,6,6",
            "e = Mul(x, k) d = Concat<axis=1>(c, e) y = Conv(d, w)",
            f"{BN4}, float[4,1,1] k, float[5,8,1,1] w",
        ),
        "Concat Conv",
        "forward",
    ),
    "split into two convs": Folds(
        f"(float[N,4,6,6] x) => (float[N,5,6,6] y, float[N,2,6,6] z) <{BN4}, float[5,1,1,1] w, "
        "float[2,3,1,1] v, int64[2] s = {1, 3}> "
        "{ c = BatchNormalization(x, g, be, m, var) d, e = Split<axis=1>(c, s) y = Conv(d, w) "
        "z = Conv(e, v) }",
        "Split Conv Conv",
        "forward",
    ),
    "split whose other part is unused": Folds(
        ahead(
            "N,5,6,6", "d, e = Split<axis=1>(c, s) y = Conv(d, w)", f"{BN4}, float[5,1,1,1] w, int64[2] s = {{1, 3}}"
        ),
        "Split Conv",
        "forward",
    ),
}
REFUSES = {
    "concat of a value with itself that wants two scales": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[2,3,1,1] w, float[4,1,1] k = {2, 3, 4, 5}> "
        "{ d = Conv(x, w) c = Concat<axis=1>(d, d) y = Mul(c, k) }",
        "NF130 c, NF104 y",
    ),
    "concat with an input of the graph": Refuses(
        f"(float[N,3,6,6] x, float[N,3,6,6] z) => (float[N,4,6,6] y) <float[1,3,1,1] w, {BN4}> "
        "{ d = Conv(x, w) c = Concat<axis=1>(d, z) y = BatchNormalization(c, g, be, m, var) }",
        "NF118 c, NF104 y",
    ),
    "a value of unknown rank that a Concat reads too": Refuses(
        "(float[N,2] x, float[K] z) => (float[P] y, float[Q] u) <float[2,1] w, float k = {2}> "
        "{ d = MatMul(x, w) s = Squeeze(d) y = Mul(s, k) u = Concat<axis=0>(s, z) }",
        "NF103 u, NF104 y",
    ),
    "a float16 overflow of a constant part of a Concat": Refuses(
        "(float16[1,1,6,6] x) => (float16[1,2,6,6] y) <float16[1,1,1,1] w, float16[1,1,6,6] f, "
        "float16[2,1,1] k> "
        "{ c = Conv(x, w) d = Concat<axis=1>(c, f) y = Mul(d, k) }",
        "NF115 d, NF104 y",
        values={"f": (600,) * 36, "k": (1, 200)},
    ),
    "Split: a scale along the last axis": Refuses(
        back("N,2,6,6", "d, e = Split<axis=1>(c, sp) y = Mul(d, kw)", "float[6] kw, int64[2] sp = {2, 2}"),
        "NF111 c, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
