"""Shifts behind linear operators without a bias: they go on to where they end, or an Add holds them."""

from __future__ import annotations

import pytest

from normfold.findings.reason import Reason
from normfold.findings.verdict import Outcome
from tests.fold.rows import BN4, Folds, Refuses, every, fold, model_of
from tests.onnx_text import parse

AFFINE = "a = Mul(x, g) c = Add(a, t)"
ATTEND = "kt = Transpose<perm=[0,2,1]>(k) s = MatMul(q, kt) p = Softmax(s) o = MatMul(p, v)"
PROJECT = "r = MatMul(o, wo) z = Add(r, bo) y = Relu(z)"
WEIGHTS = "float[4] g, float[4] t, float[4,4] wq, float[4] bq, float[4,4] wk, float[4,4] wv, float[4,4] wo, float[4] bo"


def ahead(nodes: str, weights: str, shape: str = "N,5,4", more: str = "", outputs: str = "") -> str:
    """Text in which an affine makes c of x [N,5,4], and ``nodes`` make y of c."""
    weights = f"float[4] g, float[4] t, {weights}"
    return f"(float[N,5,4] x{more}) => (float[{shape}] y{outputs}) <{weights}> {{ {AFFINE} {nodes} }}"


def attention(q: str, between: str = "") -> str:
    """The keys and the values have no bias; ``q`` makes the queries."""
    nodes = f"{AFFINE} {q} k = MatMul(c, wk) v = MatMul(c, wv) {between} {ATTEND} {PROJECT}"
    return f"(float[N,5,4] x) => (float[N,5,4] y) <{WEIGHTS}> {{ {nodes} }}"


FOLDS = {
    "a key's shift dies and a value's goes into the projection": Folds(
        attention("d = MatMul(c, wq) q = Add(d, bq)"),
        "MatMul Add MatMul MatMul Transpose MatMul Softmax MatMul MatMul Add Relu",
        "forward",
        "q z",
    ),
    "only the shift of the queries stops": Folds(
        attention("q = MatMul(c, wq)"),
        "MatMul Add MatMul MatMul Transpose MatMul Softmax MatMul MatMul Add Relu",
        "forward",
        "z",
    ),
    "into a bias behind a Reshape": Folds(
        ahead(
            "d = MatMul(c, w) e = Reshape(d, s) y = Add(e, b)",
            "float[4,6] w, float[2,3] b, int64[4] s = {0,5,2,3}",
            "N,5,2,3",
        ),
        "MatMul Reshape Add",
        "forward",
        "y",
    ),
    "into the next linear operator and its bias": Folds(
        ahead("d = MatMul(c, w) e = MatMul(d, u) y = Add(e, b)", "float[4,6] w, float[6,3] u, float[3] b", "N,5,3"),
        "MatMul MatMul Add",
        "forward",
        "y",
    ),
    "into a convolution": Folds(
        ahead(
            "d = MatMul(c, w) e = Transpose<perm=[0,2,1]>(d) y = Conv(e, u)", "float[4,6] w, float[2,6,3] u", "N,2,3"
        ),
        "MatMul Transpose Conv",
        "forward",
    ),
    "into the bias of another addend": Folds(
        ahead(
            "d = MatMul(c, w) e = Gemm(z, u, b) f = Add(d, e) y = Relu(f)",
            "float[4,6] w, float[3,6] u, float[6] b",
            "5,5,6",
            ", float[5,3] z",
        ),
        "MatMul Gemm Add Relu",
        "forward",
    ),
    "two that meet in a sum": Folds(
        ahead(
            "d = MatMul(c, w) e = MatMul(c, u) et = Transpose<perm=[0,2,1]>(e) f = Add(d, et) h = Add(f, b)"
            " y = Relu(h)",
            "float[4,5] w, float[4,5] u, float[5] b",
            "N,5,5",
        ),
        "MatMul MatMul Transpose Add Add Relu",
        "forward",
        "h",
    ),
    "past a scale that stays": Folds(
        ahead(
            "d = MatMul(c, w) h = ArgMax<axis=1>(d) f = Mul(d, k) y = Softmax<axis=1>(f)",
            "float[4,6] w, float[6] k",
            "N,5,6",
            outputs=", int64[N,1,6] h",
        ),
        "MatMul ArgMax Mul Softmax",
        "forward",
        "f",
    ),
    "past a subtraction that stays": Folds(
        ahead(
            "d = MatMul(c, w) h = ArgMax<axis=1>(d) f = Sub(k, d) y = Softmax<axis=1>(f)",
            "float[4,6] w, float[5,1] k",
            "N,5,6",
            outputs=", int64[N,1,6] h",
        ),
        "MatMul ArgMax Sub Softmax",
        "forward",
        "f",
    ),
    "into all of twelve": Folds(
        ahead(
            " ".join(f"d{i} = MatMul(c, w{i}) e{i} = Softmax<axis=1>(d{i})" for i in range(12))
            + " y = Concat<axis=2>("
            + ", ".join(f"e{i}" for i in range(12))
            + ")",
            ", ".join(f"float[4,3] w{i}" for i in range(12)),
            "N,5,36",
        ),
        " ".join(["MatMul Softmax"] * 12) + " Concat",
        "forward",
    ),
    "back past a scale that stays": Folds(
        "(float[N,3,6] x, float[N,4,4] z) => (float[4,N,4] y) <float[4,3,3] w, float[4] b, float[4] k, float[4] t>"
        " { c = Conv(x, w, b) d = Transpose<perm=[0,2,1]>(c) e = Add(d, z) f = Mul(e, k)"
        " g = Transpose<perm=[1,0,2]>(f) h = Add(g, t) y = Sigmoid(h) }",
        "Conv Transpose Add Mul Transpose Sigmoid",
        kept="f",
    ),
}
ADD = "<float[4] t, float[4,6] w, float[4,6] u, float[4,6] o> { c = Add(x, t) d = MatMul(c, w)"
REFUSES = {
    "by an activation": Refuses(f"(float[N,5,4] x) => (float[N,5,6] y) {ADD} y = Relu(d) }}", "NF125 d, NF118 c"),
    "by an output": Refuses(f"(float[N,5,4] x) => (float[N,5,6] d) {ADD} }}", "NF125 d, NF118 c"),
    "by two of three": Refuses(
        f"(float[N,5,4] x) => (float[N,5,6] y, float[N,5,6] z, float[N,5,6] v) {ADD} e = MatMul(c, u)"
        " f = MatMul(c, o) y = Relu(d) z = Softmax<axis=1>(e) v = Abs(f) }",
        "NF125 d, e, f and 1 more, NF118 c",
    ),
    "sigmoid ahead": Refuses(
        f"(float[N,4,6,6] x) => (float[N,5,4,4] y) <{BN4}, float[5,4,3,3] w, float[5] b> "
        "{ c = BatchNormalization(x, g, be, m, var) d = Sigmoid(c) y = Conv(d, w, b) }",
        "NF110 d, NF118 c",
        site="c",
    ),
    "one of two readers stops": Refuses(
        f"(float[N,4,6,6] x) => (float[N,5,4,4] y, float[N,4,6,6] d) <{BN4}, float[5,4,3,3] w, float[5] b> "
        "{ c = BatchNormalization(x, g, be, m, var) d = Sigmoid(c) y = Conv(c, w, b) }",
        "NF110 d, NF118 c",
        site="c",
    ),
    "an operator of another domain of the same name": Refuses(
        "(float[N,4,9,9] x) => (float[N,4,9,9] y) <float[4,1,1] k> { c = Mul(x, k) y = com.microsoft.Gelu(c) }",
        "NF110 y, NF118 c",
        site="c",
        domains='"com.microsoft":1',
    ),
}

# Behind a scale of 1/8, in float16, and read by a MatMul that would take it. A Gemm has alpha for it.
AMPLIFIES = {
    "MatMul": "d = MatMul(c, z)",
    "Einsum": 'd = Einsum<equation="ij,jk->ik">(c, z)',
    "Mul": "d = Mul(c, z)",
    "ReduceSum": "d = ReduceSum(c, axis)",
    "ReduceL1": "d = ReduceL1<axes=[0]>(c)",
    "ReduceL2": "d = ReduceL2<axes=[0]>(c)",
    "ReduceSumSquare": "d = ReduceSumSquare<axes=[0]>(c)",
    "CumSum": "d = CumSum(c, zero)",
    "LpPool": "u = Unsqueeze(c, one) l = LpPool<kernel_shape=[2],strides=[1],pads=[1,0]>(u) d = Squeeze(l, one)",
    "GlobalLpPool": "u = Unsqueeze(c, axis) l = GlobalLpPool(u) d = Squeeze(l, axis)",
}


@pytest.mark.parametrize("name", AMPLIFIES)
def test_a_small_scale_is_not_taken_from_what_may_overflow(name: str) -> None:
    constants = "float16 s = {12288}, float16[4,4] w, int64[1] axis = {0}, int64[1] one = {1}, int64 zero = {0}"
    text = f"(float16[4,4] x, float16[4,4] z) => (float16[M,4] y) <{constants}>"
    model = parse(f"{text} {{ c = Mul(x, s) {AMPLIFIES[name]} y = MatMul(d, w) }}")
    (kept,) = fold(model).sites(Outcome.KEPT)
    assert kept == "c"
    obstacles = fold(model).verdicts[-1].obstacles
    assert Reason.OUT_OF_RANGE in [obstacle.reason for obstacle in obstacles], [str(each) for each in obstacles]


test_folds = every(FOLDS)
test_refuses = every(REFUSES)


def test_what_costs_more_says_where_each_shift_stops() -> None:
    verdict = fold(model_of(REFUSES["by two of three"])).verdicts[-1]
    said = verdict.obstacles[0].detail
    assert "an Add would come behind d, f" in said
    assert "the shift behind d stops at y" in said and "the shift behind f stops at v" in said
    assert "behind e " not in said, "the softmax cancels it"


def test_an_identity_that_names_an_output_stops_as_the_output_does() -> None:
    text = "(float[N,4] x) => (float[N,3] y, float[N,4] d) <float[4] k, float[4,3] w> "
    (verdict,) = fold(parse(text + "{ c = Mul(x, k) d = Identity(c) y = MatMul(c, w) }")).verdicts
    assert (Reason.GRAPH_OUTPUT, "d") in [(obstacle.reason, obstacle.node) for obstacle in verdict.obstacles]
